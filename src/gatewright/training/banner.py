"""What a person sees when a run begins: the model, what it costs, what it runs on, and the plan."""

from __future__ import annotations

from typing import Any

from gatewright.config import Config
from gatewright.data import TokenizedCorpus
from gatewright.hardware.measure import Peak
from gatewright.model.cost import ModelCost
from gatewright.training.console import si

CHOICES = ("norm", "activation", "position", "attention", "norm_position", "feedforward")


def start_rows(
    config: Config,
    architecture: str,
    cost: ModelCost,
    data: TokenizedCorpus,
    device_name: str,
    peak: Peak,
    memory_bytes: dict[str, int],
) -> dict[str, str]:
    """The rows of the start-up block, label → text."""
    model, train = config.model, config.train
    rows = {"architecture": architecture}
    rows |= {f"  {choice.replace('_', ' ')}": _spec(getattr(model, choice)) for choice in CHOICES}
    rows["  bias, tied, dropout"] = f"{_yes(model.bias)}, {_yes(model.tie_weights)}, {model.dropout:g}"
    if model.alpha is not None:
        rows["  α"] = _spec(model.alpha)
    rows["parameters"] = f"{si(cost.parameters, '')}"
    if cost.active_parameters != cost.parameters:
        rows["parameters"] += f" ({si(cost.active_parameters, '')} active)"
    training, forward = si(cost.flops_per_token, "FLOP"), si(cost.forward_flops_per_token, "FLOP")
    rows["FLOPs per token"] = f"{training} training, {forward} forward ({_shares(cost)})"
    rows["attention / FFN"] = f"{cost.attention_ffn_ratio:.2f}"
    uses = ", ".join(f"{use} {si(size, 'B')}" for use, size in memory_bytes.items())
    rows["memory, estimated"] = f"{si(sum(memory_bytes.values()), 'B')} ({uses})"
    speed = "peak unknown: no MFU" if peak.flops is None else f"peak {si(peak.flops, 'FLOP/s')} ({peak.how})"
    rows["hardware"] = f"{device_name}, {train.precision}, {speed}"
    rows["data"] = (
        f"{config.data.source}, {len(data.train):,} training and {len(data.validation):,} validation tokens, "
        f"tokenizer {data.tokenizer.name} ({data.tokenizer.vocab_size:,})"
    )
    per_step = train.batch_size * train.grad_accumulation * model.block_size
    tokens = per_step * train.max_steps
    epochs = tokens / len(data.train)
    rows["plan"] = (
        f"{train.max_steps:,} steps of {per_step:,} tokens = {tokens:,} tokens ({epochs:.2f} epochs), "
        f"{train.optimizer}, {train.schedule} from {train.learning_rate:g}, seed {train.seed}"
    )
    return rows


def _spec(spec: Any) -> str:
    """A part's name and knobs, ``rope (theta=500000)``; those of each layer where they differ."""
    if isinstance(spec, list):
        return ", ".join(_spec(one) for one in spec)
    if isinstance(spec, dict):
        knobs = ", ".join(f"{key}={value}" for key, value in spec.items() if key != "name")
        return f"{spec.get('name', '')} ({knobs})" if knobs else str(spec.get("name", ""))
    return str(spec)


def _shares(cost: ModelCost) -> str:
    flops = {name: part["forward_flops_per_token"] for name, part in cost.breakdown.items()}
    total = max(1, sum(flops.values()))
    return ", ".join(f"{name} {value / total:.0%}" for name, value in flops.items() if value)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
