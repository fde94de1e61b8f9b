"""Reading a run directory, which `gatewright.train` writes. No torch is needed until weights are asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gatewright.errors import UserError
from gatewright.reading import check_numbers, misfit, read_array, read_json_object

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gatewright.config import Config
    from gatewright.data import Tokenizer
    from gatewright.model.language_model import LanguageModel
    from gatewright.pretrained.model import PretrainedModel

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
EVALUATION = "evaluation.npy"
CHECKPOINTS = "checkpoints"
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
"""Of a checkpoint: the weights, or the index of the files that hold them."""
PLUGINS = "plugins"
TOKENIZER = "tokenizer"
TENSORBOARD = "tensorboard"

_AMOUNT = {"tokens?": int, "questions?": int}
ENVIRONMENT_FORM = {
    "time?": str, "host?": str, "architecture?": str, "packages?": dict, "git?": {"commit": str}, "resumed?": list,
    "peak_flops?": (int, float), "validation?": _AMOUNT,
    "data?": {
        "content_sha256?": str, "source?": dict, "tokenizer?": {"name": str},
        "train?": _AMOUNT, "validation?": _AMOUNT, "contamination?": (int, float),
    },
}  # fmt: skip
"""Of ``environment.json``: what others rely on, where it is there."""


class Run:
    """A run directory: configuration, environment, metrics, summary, checkpoints.

    Raises `UserError` if ``path`` is not one. Properties read the files when asked, so a run that is still going can
    be watched.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(f"{self.path} is not a run directory: there is no such folder")
        if not (self.path / CONFIG).is_file():
            raise UserError(f"{self.path} is not a run directory: it has no {CONFIG}")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @cached_property
    def config(self) -> Config:
        """The resolved configuration the run was started with."""
        from gatewright.config import read_config

        return read_config(self.path / CONFIG)

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware, peak FLOP/s, git commit, seed; empty if the run was killed before it was written."""
        record = self._json(ENVIRONMENT) or {}
        if (wrong := misfit(record, ENVIRONMENT_FORM)) is not None:
            raise UserError(f"cannot read {self.path / ENVIRONMENT}: {wrong} is not what it should be")
        return record

    @property
    def summary(self) -> dict[str, Any] | None:
        """The outcome in numbers; None before the run wrote one."""
        values = self._json(SUMMARY)
        wrong = None if values is None else check_numbers(values, ("status", "error", "architecture"), ("alpha",))
        if wrong is not None:
            raise UserError(f"cannot read {self.path / SUMMARY}: {wrong} is not what it should be")
        return values

    @property
    def status(self) -> str:
        """``finished``, ``diverged``, ``failed``, ``interrupted`` or ``running``; a killed run stays at ``running``."""
        return str((self.summary or {}).get("status", "running"))

    def metrics(self) -> list[dict[str, Any]]:
        """All records of metrics.jsonl, in order; a torn last line is passed over."""
        from gatewright.training.metrics import read_records

        return read_records(self.path / METRICS)

    def train_records(self) -> list[dict[str, Any]]:
        """The records of training: step, tokens, loss, lr, grad_norm, alpha, tokens_per_second, mfu, memory_bytes."""
        return [record for record in self.metrics() if record.get("kind") == "train"]

    def eval_records(self) -> list[dict[str, Any]]:
        """The records of evaluations: step, tokens and the ``val_…`` numbers."""
        return [record for record in self.metrics() if record.get("kind") == "eval"]

    def evaluated_sequences(self) -> NDArray[np.float64] | None:
        """Sum of losses and number of tokens of every sequence of the last evaluation, ``(sequences, 2)``.

        None before the last step, and for runs of versions that did not record it.
        """
        path = self.path / EVALUATION
        if not path.is_file():
            return None
        table = read_array(path)
        if table.ndim != 2 or table.shape[1] != 2 or table.dtype.kind != "f":
            raise UserError(f"cannot read {path}: it holds no table of losses")
        return table

    def checkpoints(self) -> list[Path]:
        """The checkpoint folders, oldest first."""
        from gatewright.training.store import CheckpointStore

        return CheckpointStore(self.path / CHECKPOINTS).paths()

    def checkpoint(self, which: Literal["best", "last"] = "best") -> Path:
        """The checkpoint with the lowest validation loss, or the newest; only sound ones. `UserError` without any."""
        from gatewright.training.store import CheckpointStore, fault

        store = CheckpointStore(self.path / CHECKPOINTS)
        path, problems = store.newest_sound()
        best = store.best()
        if which == "best" and best is not None and fault(best) is None:
            path = best
        if path is None:
            why = f" ({problems[0]})" if problems else ""
            raise UserError(f"{self.path} has no usable checkpoint{why}")
        return path

    def model(self, which: Literal["best", "last"] = "best") -> LanguageModel | PretrainedModel:
        """The trained model in evaluation mode, on the CPU, from the best or the last checkpoint."""
        return self.load(self.checkpoint(which))

    def load(self, checkpoint: Path) -> LanguageModel | PretrainedModel:
        """The model as it was at ``checkpoint``, in evaluation mode, on the CPU.

        Files of parts that it was made with have to be named before: see `gatewright.plugins`.

        A run that started from a model of transformers has one of those: a `PretrainedModel`, around ``.hf``.
        """
        from gatewright.hf.description import is_ours
        from gatewright.model.build import build
        from gatewright.plugins import recall_plugins
        from gatewright.training.checkpoint import load_weights

        plugins = self.config.plugins
        try:
            recall_plugins(plugins)
        except UserError as error:
            raise UserError(f"{error} ({self.path / PLUGINS} has what the run used)") from error
        if not is_ours(checkpoint):
            from gatewright.pretrained.opening import open_checkpoint

            return open_checkpoint(checkpoint, self.config.model.block_size)
        model = build(self.config.model)
        load_weights(checkpoint, model)
        return model.eval()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer the run was trained with."""
        from gatewright.data import load_tokenizer

        return load_tokenizer(self.path / TOKENIZER)

    def _json(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        return read_json_object(path) if path.exists() else None
