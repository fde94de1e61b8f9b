"""What the contract is checked on: a part, small, under one setting of its knobs, and tensors to run it on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from gatewright.contract.subject import SUBJECTS, Subject
from gatewright.errors import UserError
from gatewright.model.initialise import initialise
from gatewright.parts.gates.forms import FORMS
from gatewright.parts.inits.fan_in import FanInInit
from gatewright.parts.part import Dims
from gatewright.registry import Entry, create

SMALL = Dims(n_embd=16, n_head=4, kv_heads=2, head_dim=4, block_size=12, n_layer=2, layer=1, bias=True, vocab_size=23)
"""The dimensions a part is checked at: grouped queries, biases, a layer that is not the first, an odd vocabulary."""

SURROUNDINGS: dict[str, Any] = {"hidden": 24}
"""What a model always offers a part, beside what the part itself has defaults for."""

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "position": [{"fraction": 0.5}],
    "attention": [{"window": 3}, {"qk_norm": "rmsnorm"}, {"window": 2, "qk_norm": "layernorm", "output_gate": "head"}],
    "norm_position": [{"norm": "rmsnorm"}],
    "gate": [{"form": name} for name in FORMS] + [{"form": "blend", "gate_norm": "after", "alpha": "learnable"}],
    "alpha": [{"start": 0.25}],
    "similarity": [{"temperature": 1.0}, {"rank": 3, "space": "vocabulary"}],
    "feedforward": [{"n_experts": 3, "expert": {"name": "paglu", "alpha": 0.3}}, {"top_k": 1, "normalise": False}],
}
"""Settings of knobs that are checked beside the defaults, where a part has such knobs."""


@dataclass(frozen=True)
class Case:
    """A registered part under one setting of its knobs."""

    entry: Entry
    knobs: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        knobs = ", ".join(f"{key}={value}" for key, value in self.knobs.items())
        return f"{self.entry.kind} '{self.entry.name}'" + (f" with {knobs}" if knobs else "")

    def part(self, dims: Dims = SMALL, **context: Any) -> Any:
        """The part itself, made as a model makes it; on the meta device unless told otherwise."""
        spec = {"name": self.entry.name, **self.knobs}
        with torch.device("meta"):
            return create(self.entry.kind, spec, dims, **{**SURROUNDINGS, **context})

    def fresh(self, dims: Dims = SMALL, **context: Any) -> Subject:
        """The part in what it needs around it, at its starting values; built without memory first, as a model is."""
        with torch.device("meta"):
            subject = SUBJECTS[self.entry.kind](self.part(dims, **context), dims)
        return start(subject.to_empty(device="cpu"))

    def build(self, dims: Dims = SMALL, dtype: torch.dtype = torch.float32, **context: Any) -> Subject:
        """`fresh`, in evaluation mode and with parameters moved off their starting values.

        A weight of exactly 1 or 0, as norms and biases have at the start, would hide what it does.
        """
        subject = self.fresh(dims, **context)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in subject.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return subject.to(dtype).eval()

    def inputs(
        self, dims: Dims = SMALL, *, batch: int = 2, tokens: int = 5, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, ...]:
        """Normal random tensors for the subject's forward pass, the same ones each time."""
        generator = torch.Generator().manual_seed(17)
        widths = SUBJECTS[self.entry.kind].widths(dims)
        return tuple(torch.randn(batch, tokens, width, generator=generator, dtype=dtype) for width in widths)


def start(subject: Subject) -> Subject:
    """Put all parameters and buffers to their starting values, as a model's `initialise` does; returns ``subject``."""
    initialise(subject, FanInInit(subject.dims), seed=0)
    return subject


def cases(entry: Entry) -> Iterator[Case]:
    """The cases of a part: its defaults, each choice of each knob that is one of a few words, and `SETTINGS`.

    A setting that the part itself refuses (`UserError`) is no case.
    """
    knobs = entry.knobs()
    hints = get_type_hints(entry.target.__init__)
    settings: list[dict[str, Any]] = []
    for name, knob in knobs.items():
        settings += [{name: word} for word in _words(hints.get(name)) if word != knob.default]
    settings += [setting for setting in SETTINGS.get(entry.kind, []) if set(setting) <= set(knobs)]
    yield Case(entry)
    for setting in settings:
        case = Case(entry, setting)
        if _accepted(case):
            yield case


def _words(annotation: Any) -> list[Any]:
    """The words of a ``Literal`` (also of an optional one), or nothing."""
    options = [annotation, *get_args(annotation)]
    return [word for option in options if get_origin(option) is Literal for word in get_args(option)]


def _accepted(case: Case) -> bool:
    try:
        case.part()
    except UserError:
        return False
    except Exception:  # a case all the same: the lines that need it will say what was raised
        return True
    return True
