"""What can be evaluated: our runs, and causal language models of Hugging Face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import nn

from gatewright.data import Tokenizer
from gatewright.data.extras import import_extra
from gatewright.errors import UserError
from gatewright.model.language_model import LanguageModel
from gatewright.run import CONFIG, TOKENIZER, Run


class Target(ABC):
    """A model and its tokenizer. Weights are read by `load` and `load_for_transformers` alone."""

    name: str
    """As it was asked for."""
    precision: str
    """What it is computed in unless somebody says otherwise."""

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """What the model reads text with."""

    @property
    @abstractmethod
    def prefix_id(self) -> int:
        """The token that stands before a text, so that the text's own first token can be predicted too."""

    @property
    @abstractmethod
    def context(self) -> int | None:
        """The longest sequence it can read, in tokens; None where there is no such bound."""

    @property
    @abstractmethod
    def vocab_size(self) -> int | None:
        """The tokens it knows; None where its configuration does not say."""

    def check_block_size(self, block_size: int | None) -> int | None:
        """``block_size``, if the context holds it; `UserError` if not."""
        if block_size is not None and self.context is not None and block_size > self.context:
            raise UserError(f"--block-size {block_size}: the context of {self.name} is {self.context} tokens")
        return block_size

    @abstractmethod
    def load(self, precision: str) -> nn.Module:
        """The model in evaluation mode on the CPU: token ids ``(B, T)`` to an output with ``logits`` ``(B, T, V)``."""

    @abstractmethod
    def load_for_transformers(self, precision: str) -> tuple[Any, Any]:
        """The model, as `load` gives it, and its tokenizer, both as transformers has them."""


class RunTarget(Target):
    """A checkpoint of a run; computed as in training, its texts preceded by the separator it was trained with."""

    def __init__(self, run: Run, which: Literal["best", "last"] = "best") -> None:
        self.run = run
        self.which: Literal["best", "last"] = which
        self.name = str(run.path)
        self.precision = run.config.train.precision

    @property
    def tokenizer(self) -> Tokenizer:
        return self.run.tokenizer

    @property
    def prefix_id(self) -> int:
        return self.tokenizer.eot_id

    @property
    def context(self) -> int:
        return self.run.config.model.block_size

    @property
    def vocab_size(self) -> int:
        return self.run.config.model.vocab_size

    @cached_property
    def checkpoint(self) -> Path:
        """The folder of the weights; `UserError` without a sound one."""
        return self.run.checkpoint(self.which)

    def load(self, precision: str) -> nn.Module:
        return self.run.load(self.checkpoint)

    def load_for_transformers(self, precision: str) -> tuple[Any, Any]:
        transformers = import_extra("transformers", "hf", "--tasks")
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.run.path / TOKENIZER, trust_remote_code=False)
        model = self.run.load(self.checkpoint)
        if not isinstance(model, LanguageModel):
            return model.hf, tokenizer
        from gatewright.hf import to_hf

        return to_hf(model, bos_token_id=self.prefix_id, eos_token_id=self.prefix_id), tokenizer


def find_target(name: str, which: Literal["best", "last"] = "best") -> Target:
    """The model that ``name`` stands for: a run directory, a folder of a Hugging Face model, or a name on the hub.

    ``which``: the checkpoint of a run. No weights are read yet. Raises `UserError` for what is none of these and for
    models that do not predict text from left to right.
    """
    folder = Path(name).expanduser()
    if (folder / CONFIG).is_file():
        return RunTarget(Run(folder), which)
    if which != "best":
        raise UserError(f"--checkpoint {which}: {name} is not a run directory, so it has no checkpoints to choose from")
    from gatewright.evaluate.pretrained import PretrainedTarget

    return PretrainedTarget(name)
