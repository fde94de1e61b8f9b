"""The same records for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PLACES = {
    "loss": "train/loss",
    "aux_loss": "train/aux_loss",
    "lr": "train/learning_rate",
    "grad_norm": "train/gradient_norm",
    "tokens_per_second": "speed/tokens_per_second",
    "mfu": "speed/mfu",
    "memory_bytes": "speed/memory_bytes",
    "val_loss": "eval/loss",
    "val_perplexity": "eval/perplexity",
    "val_perplexity_word": "eval/perplexity_word",
    "val_perplexity_byte": "eval/perplexity_byte",
    "val_token_accuracy": "eval/token_accuracy",
}


class TensorBoardLog:
    """Writes event files; on resume, what TensorBoard shows of later steps is purged."""

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge = None if resume_step is None else resume_step + 1
        self._writer = SummaryWriter(str(folder), purge_step=purge)

    def append(self, record: dict[str, Any]) -> None:
        """Write the numbers of one record of metrics.jsonl."""
        scalars = {place: record.get(key) for key, place in PLACES.items()}
        scalars |= {f"alpha/layer {layer}": value for layer, value in record.get("alpha", {}).items()}
        scalars |= {f"reports/{key}": value for key, value in record.get("reports", {}).items()}
        from tensorboard.compat.proto.summary_pb2 import Summary

        numbers = {place: float(value) for place, value in scalars.items() if value is not None}
        values = [Summary.Value(tag=place, simple_value=value) for place, value in numbers.items()]
        writer = self._writer._get_file_writer()  # add_scalar would make an event of each number
        writer.add_summary(Summary(value=values), record["step"])

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()
