"""Whole models for the contract: small ones, each with one part plugged in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatewright.config.model import ModelConfig
from gatewright.contract.case import cases
from gatewright.model.build import build
from gatewright.model.language_model import LanguageModel
from gatewright.registry import Entry

SMALL_MODEL = ModelConfig(
    n_layer=2,
    n_head=4,
    kv_heads=2,
    n_embd=64,
    block_size=32,
    vocab_size=97,
    norm="rmsnorm",
    activation=None,
    position="rope",
    init="fan_in",
)
"""What a part is plugged into: two layers, grouped queries, biases, a tied head."""


@dataclass(frozen=True)
class ModelCase:
    """A model by name; ``part`` is the entry it was made for, if any."""

    name: str
    config: ModelConfig

    def __str__(self) -> str:
        return f"model '{self.name}'"

    def build(self, dtype: torch.dtype = torch.float64) -> LanguageModel:
        """The model in evaluation mode, its parameters moved off their starting values so that each has an effect."""
        model = build(self.config)
        generator = torch.Generator().manual_seed(11)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        return model.to(dtype).eval()

    def ids(self, batch: int = 2, tokens: int | None = None) -> Tensor:
        """Random token ids ``(B, T)``, always the same ones; T is ``block_size`` unless given."""
        generator = torch.Generator().manual_seed(23)
        return torch.randint(self.config.vocab_size, (batch, tokens or self.config.block_size), generator=generator)


def model_cases(entry: Entry) -> Iterator[ModelCase]:
    """Small models that hold the part ``entry``, one for each of its cases that a model can hold."""
    if entry.kind == "similarity":  # stands between paths, not in a model
        return
    for case in cases(entry) if entry.kind != "init" else ():
        spec: Any = {"name": entry.name, **case.knobs} if case.knobs else entry.name
        yield ModelCase(str(case), dataclasses.replace(SMALL_MODEL, **_place(entry.kind, spec)))
    if entry.kind == "init":
        yield ModelCase(f"init '{entry.name}'", dataclasses.replace(SMALL_MODEL, init=entry.name))


def _place(kind: str, spec: Any) -> dict[str, Any]:
    """The settings that put a part of ``kind`` into a model."""
    if kind == "gate":
        return {"feedforward": {"name": "gated", "gate": spec}, "hidden": SMALL_MODEL.n_embd}
    if kind == "alpha":
        return {"feedforward": "paglu", "alpha": spec}
    return {kind: spec}
