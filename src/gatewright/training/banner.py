"""What a person sees when a run begins: the model, what it costs, what it runs on, and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewright.config import Config, TrainConfig
from gatewright.hardware.measure import Peak
from gatewright.model.cost import ModelCost
from gatewright.training.console import si

CHOICES = ("norm", "activation", "position", "attention", "norm_position", "feedforward")


def model_rows(config: Config, architecture: str, cost: ModelCost, memory_bytes: Mapping[str, int]) -> dict[str, str]:
    """The start-up block's lines on a model of ours and what it costs, label → text."""
    model = config.model
    rows = {"architecture": architecture}
    rows |= {f"  {choice.replace('_', ' ')}": _spec(getattr(model, choice)) for choice in CHOICES}
    rows["  bias, tied, dropout"] = f"{_yes(model.bias)}, {_yes(model.tie_weights)}, {model.dropout:g}"
    if model.alpha is not None:
        rows["  α"] = _spec(model.alpha)
    return rows | cost_rows(cost, memory_bytes)


def cost_rows(cost: ModelCost, memory_bytes: Mapping[str, int]) -> dict[str, str]:
    """The lines on parameters, FLOPs and memory."""
    rows = {"parameters": f"{si(cost.parameters, '')}"}
    if cost.active_parameters != cost.parameters:
        rows["parameters"] += f" ({si(cost.active_parameters, '')} active)"
    training, forward = si(cost.flops_per_token, "FLOP"), si(cost.forward_flops_per_token, "FLOP")
    rows["FLOPs per token"] = f"{training} training, {forward} forward ({_shares(cost)})"
    rows["attention / FFN"] = f"{cost.attention_ffn_ratio:.2f}"
    uses = ", ".join(f"{use} {si(size, 'B')}" for use, size in memory_bytes.items())
    rows["memory, estimated"] = f"{si(sum(memory_bytes.values()), 'B')} ({uses})"
    return rows


def plan_row(train: TrainConfig, step: str) -> dict[str, str]:
    """The line on what is going to be done; ``step`` says what a step learns from."""
    how = f"{train.optimizer}, {train.schedule} from {train.learning_rate:g}, seed {train.seed}"
    return {"plan": f"{train.max_steps:,} steps of {step}, {how}"}


def hardware_row(device_name: str, precision: str, peak: Peak) -> dict[str, str]:
    """The line on what it runs on."""
    speed = "peak unknown: no MFU" if peak.flops is None else f"peak {si(peak.flops, 'FLOP/s')} ({peak.how})"
    return {"hardware": f"{device_name}, {precision}, {speed}"}


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
