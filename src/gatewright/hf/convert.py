"""Our models as Hugging Face models, and theirs as ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GgufConfig,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3ForCausalLM,
)
from transformers.initialization import no_init_weights

from gatewright.data.hub import resolve
from gatewright.errors import UserError
from gatewright.hf.assemble import language_model
from gatewright.hf.configuration import GatewrightConfig
from gatewright.hf.families import Family, from_native, to_native
from gatewright.hf.foreign import model_config
from gatewright.hf.modeling import GatewrightForCausalLM
from gatewright.hf.native import native_config
from gatewright.model.build import build
from gatewright.model.language_model import LanguageModel
from gatewright.pretrained.model import PretrainedModel
from gatewright.reading import opening
from gatewright.surgery.record import Record

_CLASSES: dict[str, Any] = {"gpt2": GPT2LMHeadModel, "llama": LlamaForCausalLM, "qwen3": Qwen3ForCausalLM}


def to_hf(model: LanguageModel | PretrainedModel, *, native: bool = False, **values: Any) -> PreTrainedModel:
    """``model`` as a Hugging Face model.

    A `GatewrightForCausalLM` with the very modules of ``model``: training one trains the other. With ``native``, a
    model of the family that ``model`` is, with a copy of its weights. ``values`` go into the configuration that is
    made, such as ``eos_token_id``; a model of transformers is handed out as it is, with the one it has. Raises
    `UserError`, with ``native``, that names the first choice its nearest family does not have, and for gates that
    surgery put in.
    """
    if isinstance(model, PretrainedModel):
        if native and Record.read(model.hf.config) is not None:
            raise UserError(f"transformers has no {type(model.hf).__name__} with gates: leave out native")
        return model.hf
    if native:
        return _to_native(model, values)
    with torch.device("meta"):
        wrapped = GatewrightForCausalLM(GatewrightConfig.of(model.config, **values))
    wrapped.model.take(model)
    if model.head is None:
        wrapped.head.weight = model.embedding.weight
    else:
        wrapped.head = model.head
    wrapped.config.dtype = wrapped.dtype
    return wrapped.train(model.training)


def from_hf(
    source: str | Path | PreTrainedModel,
    *,
    gguf_file: str | None = None,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> LanguageModel:
    """A GPT-2, LLaMA or Qwen3, or a model of ours that was saved, as a `LanguageModel` in evaluation mode.

    ``source`` is a name on the hub, a folder, a GGUF file (or a folder or name with ``gguf_file`` in it), or a model
    that is open already, whose weights are copied; of one of ours the very modules are taken. ``options`` go to
    ``from_pretrained`` (``revision``, ``cache_dir``, ``local_files_only``). Raises `UserError` for what cannot be
    opened, for a family we cannot express, and for the first key whose value has no counterpart.
    """
    model = source if isinstance(source, PreTrainedModel) else _open(str(source), gguf_file, dtype, options)
    if isinstance(model, GatewrightForCausalLM):
        return language_model(model).eval()
    ours = build(model_config(model.config), device="meta")
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    converted = from_native(state, cast(Family, model.config.model_type), ours.state_dict())
    ours.to_empty(device=model.device).to(model.dtype)
    ours.load_state_dict(converted)
    return ours.eval()


def _to_native(model: LanguageModel, values: dict[str, Any]) -> PreTrainedModel:
    config = native_config(model, **values)
    family = cast(Family, config.model_type)
    state = to_native(model.state_dict(), family)
    if model.head is None:
        state["lm_head.weight"] = model.embedding.weight
    with no_init_weights():  # not on meta, where the angles of RoPE would be lost
        native = _CLASSES[family](config).to(model.embedding.weight.device, model.embedding.weight.dtype)
    native.load_state_dict(state)
    native.tie_weights()
    native.config.dtype = native.dtype
    return native.train(model.training)


def _open(source: str, gguf_file: str | None, dtype: torch.dtype, options: dict[str, Any]) -> PreTrainedModel:
    """The model behind a name or a path; its configuration is judged before its weights are read."""
    path = Path(source).expanduser()
    if gguf_file is None and path.suffix == ".gguf" and path.is_file():
        source, gguf_file = str(path.parent), path.name
    place = resolve("source", source)
    options = {"trust_remote_code": False, **options}
    if gguf_file is not None:
        # one that is dense, whatever kernels for quantized weights may be installed
        dense = {"gguf_file": gguf_file, "quantization_config": GgufConfig(dequantize=True), "dtype": dtype}
        return _ask(source, lambda: AutoModelForCausalLM.from_pretrained(place, **dense, **options))
    config: PreTrainedConfig = _ask(source, lambda: AutoConfig.from_pretrained(place, **options))
    if not isinstance(config, GatewrightConfig):
        model_config(config)
    return _ask(source, lambda: AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **options))


def _ask(source: str, call: Any) -> Any:
    with opening(f"{source}: transformers cannot open it"):
        return call()
