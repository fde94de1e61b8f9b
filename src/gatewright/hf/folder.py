"""Writing a model as a Hugging Face folder: configuration, weights, generation settings, tokenizer, model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from transformers import GenerationConfig, PreTrainedModel

from gatewright.errors import UserError
from gatewright.files import new_folder
from gatewright.hf.convert import to_hf
from gatewright.hf.model_card import describe_model, describe_run, render
from gatewright.hf.modeling import GatewrightForCausalLM
from gatewright.model.language_model import LanguageModel
from gatewright.pretrained.model import PretrainedModel
from gatewright.run import Run
from gatewright.surgery.record import Record

CARD = "README.md"
TOKENIZER_CONFIG = "tokenizer_config.json"


def save(
    source: Run | LanguageModel | PretrainedModel | str | Path,
    folder: str | Path,
    *,
    native: bool = False,
    checkpoint: Literal["best", "last"] = "best",
) -> Path:
    """Write a run (or its path), or a model by itself, as a folder for ``AutoModelForCausalLM.from_pretrained``.

    - ``native``: as the class and with the names of the family that the model is (GPT-2, LLaMA, Qwen3), so that
      transformers opens it without Gatewright. A model of transformers is so already, unless it has gates.
    - ``checkpoint``: which weights of a run.

    A run brings its tokenizer and its numbers for the model card. Returns ``folder``, which appears as a whole or not
    at all. Raises `UserError` before any work for a ``folder`` that exists and for a model that, with ``native``, is
    none of transformers' own families; `RunError` when the disk cannot be written.
    """
    run = source if isinstance(source, Run) else Run(source) if isinstance(source, (str, Path)) else None
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"{folder} exists; choose another folder")
    if run is None:
        assert not isinstance(source, (Run, str, Path))
        hf, notes = to_hf(source, native=native), describe_model(source)
    else:
        path = run.checkpoint(checkpoint)
        model, eot = run.load(path), run.tokenizer.eot_id
        own = {} if native or not run.config.plugins else {"plugins": run.config.plugins}
        hf = to_hf(model, native=native, bos_token_id=eot, eos_token_id=eot, **own)
        if isinstance(model, LanguageModel):
            hf.generation_config = GenerationConfig(bos_token_id=eot, eos_token_id=eot)
        if hf.generation_config.pad_token_id is None:  # sequences of a batch that have ended are filled up with it
            hf.generation_config.pad_token_id = eot
        notes = {**describe_model(model), **describe_run(run, path)}
    with new_folder(folder) as temporary:
        hf.save_pretrained(temporary)
        if run is not None:
            _save_tokenizer(run, getattr(hf.config, "max_position_embeddings", run.config.model.block_size), temporary)
        kind = type(hf).__name__
        (temporary / CARD).write_text(render(folder.name, kind, _how(hf), notes), encoding="utf-8")
    return folder


def _how(hf: PreTrainedModel) -> Literal["ours", "patched", "native"]:
    """What opens a folder of ``hf``: transformers after ``import gatewright``, `load_patched`, transformers alone."""
    if isinstance(hf, GatewrightForCausalLM):
        return "ours"
    return "native" if Record.read(hf.config) is None else "patched"


def _save_tokenizer(run: Run, longest: int, folder: Path) -> None:
    """The run's tokenizer, fit for batches: it pads on the left, as generation needs it, and knows the longest text."""
    run.tokenizer.save(folder)
    path = folder / TOKENIZER_CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"model_max_length": longest, "padding_side": "left"}
    config["pad_token"] = config.get("pad_token") or config.get("eos_token") or config.get("sep_token")
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
