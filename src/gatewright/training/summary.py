"""``summary.json``: a run's outcome in numbers."""

from __future__ import annotations

from typing import Any

from gatewright.config import Config
from gatewright.model.cost import ModelCost
from gatewright.training.checkpoint import TrainerState


def summarise(
    config: Config,
    architecture: str,
    cost: ModelCost,
    state: TrainerState,
    *,
    status: str,
    flops_per_token: int,
    peak_flops: float | None,
    alpha: dict[str, float],
    error: str | None = None,
) -> dict[str, Any]:
    """The summary of a run that stands at ``state``.

    ``best_val_loss`` (or the best of whatever judges) is that of the best evaluation and ``best_val_step`` its step;
    ``final_val_loss`` and the other ``val_…`` numbers are those of the last evaluation. ``tokens_per_second`` is that
    of training proper, without the first step of each process, evaluation and checkpoints. ``mfu`` is the FLOPs of
    learning from a token × tokens_per_second / peak, null where the peak is unknown.
    """
    rate = state.timed_tokens / state.timed_seconds if state.timed_tokens and state.timed_seconds else None
    return {
        "status": status,
        "error": error,
        "architecture": architecture,
        "parameters": cost.parameters,
        "active_parameters": cost.active_parameters,
        "flops_per_token": cost.flops_per_token,
        "final_train_loss": state.final_train_loss,
        "best_val_loss": None,
        "best_val_step": None,
        **{f"best_{name}": value for name, value in state.best.items() if name != "score"},
        "final_val_loss": state.val.get("val_loss"),
        **{name: value for name, value in state.val.items() if name not in ("val_loss", "val_step")},
        "tokens_per_second": rate,
        "mfu": mfu(flops_per_token, rate, peak_flops),
        "peak_memory_bytes": state.peak_memory_bytes,
        "seed": config.train.seed,
        "steps": state.step,
        "max_steps": config.train.max_steps,
        "tokens": state.tokens,
        "seconds": state.seconds,
        "alpha": alpha,
    }


def mfu(flops_per_token: int, tokens_per_second: float | None, peak_flops: float | None) -> float | None:
    """Model FLOPs utilisation: the model's own FLOPs a second over the hardware's dense peak; None if unknown."""
    if tokens_per_second is None or peak_flops is None:
        return None
    return flops_per_token * tokens_per_second / peak_flops
