"""What a study can be judged by: the metrics of a run, where they are recorded, and which way is good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatewright.errors import unknown

Direction = Literal["lower", "higher"]


@dataclass(frozen=True)
class Metric:
    """A number that every finished run has."""

    name: str
    summary_key: str
    """its key in ``summary.json``"""
    record_key: str | None
    """its key in the evaluation records of ``metrics.jsonl``; None: it has no curve"""
    direction: Direction
    label: str
    """its name in prose and on axes"""

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller value wins."""
        return self.direction == "lower"


METRICS = {
    metric.name: metric
    for metric in (
        Metric("val_loss", "final_val_loss", "val_loss", "lower", "validation loss"),
        Metric("best_val_loss", "best_val_loss", "val_loss", "lower", "best validation loss"),
        Metric("val_perplexity", "val_perplexity", "val_perplexity", "lower", "validation perplexity"),
        Metric("val_token_accuracy", "val_token_accuracy", "val_token_accuracy", "higher", "validation token accuracy"),
        Metric("val_accuracy", "val_accuracy", "val_accuracy", "higher", "greedy accuracy"),
        Metric("val_accuracy_sampled", "val_accuracy_sampled", "val_accuracy_sampled", "higher", "sampled accuracy"),
        Metric("val_accuracy_gated", "val_accuracy_gated", "val_accuracy_gated", "higher", "accuracy while listening"),
        Metric("train_loss", "final_train_loss", None, "lower", "training loss"),
    )
}


def get_metric(name: str) -> Metric:
    """The metric called ``name``; `UserError` with the nearest name otherwise."""
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[name]
