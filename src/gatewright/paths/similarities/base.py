"""The base of all similarities between reasoning paths."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from gatewright.errors import UserError
from gatewright.parts.part import Cost, Dims, Part
from gatewright.paths.attention import attend
from gatewright.paths.precision import wide, without_autocast


class Similarity(Part):
    """How alike N paths are: log-probabilities ``(..., N, V)`` to ``S`` ``(..., N, N)``, in float32 or wider.

    Rows are log-probabilities of the next token, before any filter (top-k, top-p) and sampling temperature; −∞ is
    understood as a probability of 0. `similarity` is for use: it takes its input as a constant, so that gradients reach
    the parameters of a learnable similarity and nothing else. `forward` is the same, differentiable throughout.
    `attention` is the softmax of S / ``temperature`` over the other live paths.

    `similarity` is `compare` of `signal`. The signal of a learnable similarity on embeddings is far narrower than V, so
    a trainer that needs S again keeps the signal. A subclass implements `scores`, and `signal` where it is not the
    log-probabilities.
    """

    symmetric: ClassVar[bool] = True
    """Whether S_ij = S_ji."""
    bounds: tuple[float, float] | None = (0.0, 1.0)
    """What S lies between, whatever the input; None if nothing is promised."""
    keyed: ClassVar[bool] = False
    """Whether ``keys`` must be given, because the similarity draws lots."""
    tempered: ClassVar[bool] = True
    """Whether the temperature has any effect."""
    temperature: Tensor

    def __init__(self, dims: Dims, *, temperature: float = 0.1) -> None:
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise UserError(f"temperature={temperature}: must be a positive number")
        self.start = float(temperature)
        self.register_buffer("temperature", torch.tensor(self.start))  # saved, so that a calibrated one comes back

    def reset(self) -> None:
        self.temperature.fill_(self.start)

    def signal(self, log_probs: Tensor, table: Tensor | None = None) -> Tensor:
        """What is compared, ``(..., N, F)``; ``table`` ``(V, D)`` holds the embeddings for measures that need them."""
        return log_probs

    def scores(self, signal: Tensor) -> Tensor:
        """S of a signal in float32 or wider: ``(..., N, F)`` to ``(..., N, N)``."""
        raise NotImplementedError

    def compare(self, signal: Tensor) -> Tensor:
        """S of a signal, in float32 or wider also under autocast; differentiable."""
        with without_autocast(signal):
            return self.scores(wide(signal))

    def forward(self, log_probs: Tensor, *, table: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        """S, differentiable by everything that goes into it."""
        return self.compare(self.signal(log_probs, table))

    def similarity(self, log_probs: Tensor, *, table: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        """S, with ``log_probs`` and ``table`` as constants.

        ``keys`` ``(..., N)`` are those of the paths at this step (`gatewright.paths.draw_keys`); only similarities that
        draw lots read them. Raises `UserError` if the table or the keys are needed and not given.
        """
        return self(log_probs.detach(), table=None if table is None else table.detach(), keys=keys)

    def attention(self, similarity: Tensor, live: Tensor) -> Tensor:
        """A ``(..., N, N)`` for S and the paths that are there and thinking, ``(..., N)``; see `attend`."""
        return attend(similarity, live, self.temperature.to(similarity.dtype))

    def cost(self, tokens: int) -> Cost:
        return Cost()
