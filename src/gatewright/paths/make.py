"""Similarities by name."""

from __future__ import annotations

from typing import Any

import torch

from gatewright.errors import UserError
from gatewright.model.initialise import initialise
from gatewright.parts.inits.fan_in import FanInInit
from gatewright.parts.part import Dims
from gatewright.paths.similarities.base import Similarity
from gatewright.registry import create, split_spec
from gatewright.schema import check_value


def make_similarity(
    name: Any,
    *,
    temperature: float | None = None,
    n_embd: int | None = None,
    vocab_size: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    **knobs: Any,
) -> Similarity:
    """A similarity between reasoning paths, by name or as a mapping with ``name`` and knobs, ready for use.

    ``make_similarity("jsd", temperature=0.1)``, ``make_similarity("luong", n_embd=576, rank=64)``. ``temperature`` is
    0.1 if left out; similarities that do not use one (`none`, `peer_mean`, `random_peer`) are not offered it.
    ``n_embd`` and ``vocab_size`` are the model's; only learnable similarities need the one they work on. Their weights
    are drawn from ``seed``; the global random state is not touched. Raises `UserError` for unknown names and knobs and
    for values out of range.
    """
    name, given = split_spec("similarity", name)
    for key, value, kind in (
        ("temperature", temperature, float),
        ("n_embd", n_embd, int),
        ("vocab_size", vocab_size, int),
    ):
        if value is not None and check_value(f"similarity.{key}", value, kind) <= 0:
            raise UserError(f"similarity.{key}={value}: must be positive")
    dims = Dims(n_embd or 0, vocab_size=vocab_size or 0)
    with torch.device("meta"):
        similarity: Similarity = create("similarity", {"name": name, **given, **knobs}, dims, temperature=temperature)
    similarity.to_empty(device=device or "cpu")
    initialise(similarity, FanInInit(dims), seed)
    return similarity
