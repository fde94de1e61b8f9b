"""Causal language models of Hugging Face as something to be evaluated; needs the extra ``hf``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gatewright.data.extras import import_extra
from gatewright.data.hub import resolve
from gatewright.data.tokenization import PretrainedTokenizer
from gatewright.errors import UserError, did_you_mean
from gatewright.evaluate.target import Target
from gatewright.pretrained.causal import is_causal
from gatewright.reading import opening
from gatewright.surgery.record import KEY

PURPOSE = "{} is not a run directory, and a model of Hugging Face"


class PretrainedTarget(Target):
    """A model by its name on the hub or from a local folder; patched models are opened with their gates.

    Code that comes with a model is never executed. Weights are float32 where that is the precision, else as they were
    saved. Raises `UserError` for what cannot be opened and for what does not predict text from left to right.
    """

    precision = "float32"

    def __init__(self, name: str) -> None:
        self.name = name
        self.place = _place(name)
        self._transformers = import_extra("transformers", "hf", PURPOSE.format(name))
        self._transformers.logging.disable_progress_bar()
        auto = self._transformers.AutoConfig
        what = "is neither a run directory nor a model"
        self.config = self._ask(what, lambda: auto.from_pretrained(self.place, trust_remote_code=False))
        if self.config.is_encoder_decoder:
            raise UserError(f"{name}: a {self.config.model_type} has an encoder; only decoders are evaluated")

    @cached_property
    def tokenizer(self) -> PretrainedTokenizer:
        return PretrainedTokenizer(self.name, self._open_tokenizer())

    @property
    def prefix_id(self) -> int:
        """The beginning-of-sequence token, or the end-of-sequence token of models that have only that."""
        begin = self.tokenizer.inner.bos_token_id
        return self.tokenizer.eot_id if begin is None else int(begin)

    @property
    def context(self) -> int | None:
        config = self.config.get_text_config()
        names = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len")
        return next((int(getattr(config, name)) for name in names if getattr(config, name, None)), None)

    @property
    def vocab_size(self) -> int | None:
        return getattr(self.config.get_text_config(), "vocab_size", None)

    def load(self, precision: str) -> nn.Module:
        dtype = torch.float32 if precision == "float32" else "auto"
        if getattr(self.config, KEY, None) is not None:
            from gatewright.surgery import load_patched

            model = self._ask("is no model", lambda: load_patched(self.place, dtype=dtype))
        else:
            model = self._open_model(dtype)
        if not is_causal(model):
            raise UserError(f"{self.name}: a {self.config.model_type} that sees the tokens it is to predict")
        model.config.use_cache = False  # nothing is generated here
        return model.eval()

    def load_for_transformers(self, precision: str) -> tuple[Any, Any]:
        return self.load(precision), self._open_tokenizer()

    def _open_model(self, dtype: Any) -> Any:
        auto = self._transformers.AutoModelForCausalLM
        options = {"dtype": dtype, "trust_remote_code": False, "output_loading_info": True}
        model, info = self._ask("is no causal language model", lambda: auto.from_pretrained(self.place, **options))
        if missing := sorted(info["missing_keys"]):
            raise UserError(
                f"{self.name}: its weights lack {missing[0]}, so it was not saved as a causal language model"
            )
        return model

    def _open_tokenizer(self) -> Any:
        auto = self._transformers.AutoTokenizer
        tokenizer = self._ask("has no tokenizer", lambda: auto.from_pretrained(self.place, trust_remote_code=False))
        if not tokenizer.encode("a", add_special_tokens=False):
            raise UserError(f"{self.name}: it has no tokenizer, or an empty one")
        return tokenizer

    def _ask(self, what: str, call: Callable[[], Any]) -> Any:
        with opening(f"{self.name} {what} that transformers can open"):
            return call()


def _place(name: str) -> str:
    """``name`` for transformers: the folder that it is, or itself as a name on the hub, which is asked for it once."""
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UserError(f"{name} is neither a run directory nor a Hugging Face model: no config.yaml, no config.json")
    place = resolve("TARGET", name)
    if folder.is_dir():
        return place
    hub = import_extra("huggingface_hub", "hf", PURPOSE.format(name))
    try:
        there = isinstance(hub.try_to_load_from_cache(name, "config.json"), str) or hub.file_exists(name, "config.json")
        reason = "" if there else " (no such model, or none that is open to you)"
    except Exception as error:  # unreachable, which transformers would find out in half a minute
        reason = f" ({(str(error).strip() or type(error).__name__).splitlines()[0]})"
    if reason:
        beside = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        hint = did_you_mean(folder.name, beside)
        raise UserError(f"{name} is neither a run directory nor a model that can be had from the hub{reason}{hint}")
    return place
