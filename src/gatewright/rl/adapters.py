"""Low-rank adapters in a model of transformers, through ``peft``: put in, switched off, and merged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch

from gatewright.config.rl import LoRAConfig
from gatewright.data.extras import import_extra
from gatewright.errors import UserError
from gatewright.run import CONFIG, WEIGHTS

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def add_adapters(model: PreTrainedModel, lora: LoRAConfig, seed: int) -> None:
    """Put adapters into ``model``, drawn from ``seed``; nothing else of it is trained any more.

    At the start an adapter adds 0. Raises `UserError` for targets that the model does not have.
    """
    peft = import_extra("peft", "rl", "rl.lora")
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    transposed = any(type(module).__name__ == "Conv1D" for module in model.modules())  # GPT-2's layers
    adapters = peft.LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, target_modules=targets, lora_dropout=0.0, fan_in_fan_out=transposed
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            model.add_adapter(adapters)
        except ValueError as error:
            raise UserError(f"rl.lora.targets={targets}: {str(error).splitlines()[0]}") from error


@contextmanager
def without_adapters(model: Any) -> Iterator[None]:
    """The model as it was before it had adapters."""
    model.disable_adapters()
    try:
        yield
    finally:
        model.enable_adapters()


def merge_adapters(model: PreTrainedModel) -> None:
    """Add what the adapters have learned to the weights they adapt, and take them out."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)]:
        layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer.get_base_layer())
    model._hf_peft_config_loaded = False


def open_adapted(folder: Path, lora: LoRAConfig) -> PreTrainedModel:
    """The model of a checkpoint with adapters, these merged: an ordinary model of transformers."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(folder, trust_remote_code=False), dtype=torch.float32
    )
    add_adapters(model, lora, seed=0)
    safetensors.torch.load_model(model, folder / WEIGHTS)
    merge_adapters(model)
    return model.requires_grad_(True)


def adapters_of(folder: Path) -> LoRAConfig | None:
    """The adapters that the model of a checkpoint has, as its run was configured; None where there are none."""
    from gatewright.config import read_config

    path = folder / CONFIG
    rl = read_config(path).rl if path.is_file() else None
    return None if rl is None else rl.lora
