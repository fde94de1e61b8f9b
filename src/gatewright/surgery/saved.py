"""Opening a patched model that was saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from gatewright.data.extras import import_extra
from gatewright.errors import UserError
from gatewright.parts.alpha.input import InputAlpha
from gatewright.surgery.gated_activation import FrozenAlpha, gated_activations
from gatewright.surgery.patching import patch
from gatewright.surgery.record import KEY, Record


def load_patched(folder: str | Path, **options: Any) -> Any:
    """A model with its gates, from a folder that ``model.save_pretrained`` wrote.

    The class that was saved is opened by its ``from_pretrained``, with ``options`` such as ``dtype`` and
    ``device_map``, and given gates as ``config.gatewright_patch`` says before its weights are read. Raises `UserError`
    for a folder without a patched model, and for one whose tensors are not those of its record.
    """
    folder = Path(folder)
    transformers = import_extra("transformers", "hf", "load_patched")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no saved model: it has no config.json")
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    record = Record.read(config)
    if record is None:
        raise UserError(f"the model in {folder} is not patched: its config has no {KEY}; open it with from_pretrained")
    name = str((config.architectures or ["none"])[0])
    kind = getattr(transformers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise UserError(f"{folder}: transformers has no model {name}")
    model, info = _open(kind, folder, record, options)
    places = list(gated_activations(model))
    gates = tuple(f"{place.activation_path}." for place in places)
    for kind, verb in (("missing_keys", "lacks"), ("unexpected_keys", "has, with no place in its record,")):
        if odd := sorted(key for key in info[kind] if key.startswith(gates)):
            raise UserError(f"the model in {folder} {verb} {odd[0]}")
    for place in places:
        if isinstance(place.gated.gate.alpha, InputAlpha):
            place.gated.gate.alpha.reset()  # what it saw last is not saved
    return model


def _open(kind: Any, folder: Path, record: Record, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The model, and what transformers says about the tensors it found.

    transformers renames, splits and places tensors on their way into a model; the gates have to be there by then. So
    the model is made as one of a class that puts them in when it is constructed, and is of its own class afterwards.
    """

    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        kind.__init__(self, *args, **kwargs)
        put_gates(self, record)

    names = {"__init__": construct, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    opened: Any = type(kind.__name__, (kind,), names)
    model, info = opened.from_pretrained(folder, output_loading_info=True, **options)
    model.__class__ = kind
    return model, info


def put_gates(model: Any, record: Record) -> None:
    """Give ``model``, as it is without gates, those that ``record`` tells of; their weights are yet to be read."""
    if record.layers:
        where = {"layers": record.layers, "path": record.path, "layout": record.layout}
        patch(model, record.gate, record.form, record.alpha, preserve=False, **where)
        places = list(gated_activations(model))
        for place, shape in zip(places, record.frozen, strict=True):
            if shape is not None:
                place.gated.gate.alpha = FrozenAlpha(torch.empty(shape, dtype=torch.float32))
        names = sorted(f"{place.activation_path}.gate.alpha.raw" for place in places)
        if record.alpha[0].get("per") == "model":
            # One parameter under several names; transformers saves it under the last of them.
            model.all_tied_weights_keys |= dict.fromkeys(names[:-1], names[-1])
    for path in record.linear:
        holder, _, activation = path.rpartition(".")
        setattr(model.get_submodule(holder), activation, nn.Identity())
    record.write(model)
