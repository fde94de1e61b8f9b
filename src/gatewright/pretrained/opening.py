"""Opening a model of transformers to train it or to look at it: with weights, or laid out without memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig, PreTrainedModel

from gatewright.config import Config
from gatewright.config.patch import PatchConfig
from gatewright.errors import RunError, UserError
from gatewright.pretrained.causal import is_causal
from gatewright.pretrained.model import PretrainedModel
from gatewright.pretrained.source import Source, ask
from gatewright.reading import complaint
from gatewright.surgery import Report, load_patched, patch, train_only_alpha
from gatewright.surgery.record import Record
from gatewright.surgery.saved import put_gates


def sketch(source: Source, config: Config) -> PreTrainedModel:
    """The model that ``config`` starts from, gates included, on the meta device: every check, and no weights.

    Raises `UserError` for what cannot be opened, given these gates, or trained.
    """
    described = source.config
    with torch.device("meta"):
        model: PreTrainedModel = ask(source, lambda: AutoModelForCausalLM.from_config(described, dtype=torch.float32))
    if (record := Record.read(described)) is not None:
        put_gates(model, record)
    prepare(model, config)
    return model


def open_source(source: Source, config: Config) -> tuple[PretrainedModel, Report | None]:
    """The model that ``config`` starts from, in float32 on the CPU, gates included; the report on its patch.

    Raises `UserError` for what `sketch` refuses, for files without all of the weights, and for a model that sees the
    tokens it has to predict.
    """
    options: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True, "trust_remote_code": False}
    if source.gguf_file is not None:
        # one that is dense, whatever kernels for quantized weights may be installed
        options |= {"gguf_file": source.gguf_file, "quantization_config": GgufConfig(dequantize=True)}
    model: Any
    if Record.read(source.config) is not None:
        model = ask(source, lambda: load_patched(source.place, dtype=torch.float32))
    else:
        auto: Any = AutoModelForCausalLM
        model, info = ask(source, lambda: auto.from_pretrained(source.place, **options))
        if missing := sorted(info["missing_keys"]):
            raise UserError(f"init={source.name} is no causal language model: it has no {missing[0]}")
    if not is_causal(model):
        raise UserError(
            f"init={source.name}: a {type(model).__name__} that is not causal: it sees what it is to predict"
        )
    report = prepare(model, config)
    return PretrainedModel(model, config.model.block_size), report


def open_checkpoint(folder: Path, block_size: int) -> PretrainedModel:
    """The model of a checkpoint, in evaluation mode on the CPU; `RunError` if it cannot be read."""
    from gatewright.rl.adapters import adapters_of, open_adapted

    if (lora := adapters_of(folder)) is not None:
        return PretrainedModel(open_adapted(folder, lora).eval(), block_size)
    try:
        described = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        opener = AutoModelForCausalLM.from_pretrained if Record.read(described) is None else load_patched
        model = ask(Source(str(folder), str(folder), ""), lambda: opener(folder, dtype=torch.float32))
    except Exception as error:  # a stranger's files fail in as many ways as there are
        raise RunError(f"cannot load {folder}: {complaint(error)}") from error
    return PretrainedModel(model.eval(), block_size)


def prepare(model: PreTrainedModel, config: Config) -> Report | None:
    """Put in the gates that ``config.patch`` asks for, if any, and freeze what it does not train."""
    wanted = config.patch
    if config.rl is not None and config.rl.lora is not None:
        if wanted is not None:
            raise UserError("rl.lora and patch: choose one of them")
        from gatewright.rl.adapters import add_adapters

        add_adapters(model, config.rl.lora, config.train.seed)
    if wanted is None:
        return None
    places = {"layers": wanted.layers, "path": wanted.path, "layout": wanted.layout}
    options: dict[str, Any] = {**places, "preserve": wanted.preserve, "seed": config.train.seed}
    try:
        report = patch(model, wanted.gate, wanted.form, start_of(wanted), **options)
        if wanted.train == "alpha":
            train_only_alpha(model)
    except UserError as error:
        raise UserError(f"patch: {error}") from error
    return report


def start_of(wanted: PatchConfig) -> Any:
    """``patch.alpha``, or a learnable α that starts where the block is the trained one."""
    if wanted.alpha is not None:
        return wanted.alpha
    return {"name": "learnable", "start": 1.0 if wanted.form.endswith("gate") else 0.0, "range": "clamp"}
