"""Where small trainings are started, and the words that start them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STEPS, SAVED_EVERY = 120, 30
MODEL = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "dropout": 0.1}
TRAIN = {
    "batch_size": 4, "max_steps": STEPS, "log_every": 1, "eval_every": SAVED_EVERY, "save_every": SAVED_EVERY,
    "eval_tokens": 256, "keep_last": 10, "tensorboard": "false", "learning_rate": "3e-3",
}  # fmt: skip


@dataclass(frozen=True)
class Workplace:
    """A folder to work in, and the text to learn from."""

    folder: Path
    text: Path

    def overrides(self, **changes: object) -> list[str]:
        """A training, every setting that matters said; ``changes`` are knobs below ``train``."""
        return [
            "device=cpu", "data=files", f"data.path={self.text}", "data.tokenizer=char",
            *(f"model.{key}={value}" for key, value in MODEL.items()),
            *(f"train.{key}={value}" for key, value in (TRAIN | changes).items()),
        ]  # fmt: skip

    def words(self, out: str, **changes: object) -> list[str]:
        """``train …``, as on the command line."""
        return ["train", *self.overrides(**changes), f"out={out}"]
