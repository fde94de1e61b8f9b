"""Similarities that compare vectors: the distributions themselves, or the embeddings they expect."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.part import Cost, Dims
from gatewright.paths.precision import wide, without_autocast
from gatewright.paths.similarities.base import Similarity

Space = Literal["vocabulary", "embeddings"]


class VectorSimilarity(Similarity):
    """Compares ``p`` ``(..., N, V)`` in the space ``vocabulary``, ``u = p E`` ``(..., N, D)`` in ``embeddings``.

    E ``(V, D)`` is what the model embeds each token id as, scaling included: ``get_input_embeddings()(arange(V))``. A
    table in float32 spares a conversion at each call, and contiguous columns half of the time on a CPU.
    """

    def __init__(self, dims: Dims, *, temperature: float = 0.1, space: Space = "vocabulary") -> None:
        super().__init__(dims, temperature=temperature)
        self.dims, self.space = dims, space

    @property
    def width(self) -> int:
        """The width of what is compared; 0 if the dimensions do not say."""
        return self.dims.n_embd if self.space == "embeddings" else self.dims.vocab_size

    def signal(self, log_probs: Tensor, table: Tensor | None = None) -> Tensor:
        p = wide(log_probs).exp()
        if self.space == "vocabulary":
            return p
        if table is None:
            raise UserError("space=embeddings needs table=, the (V, D) embeddings of all tokens")
        with without_autocast(p):
            rows = p.flatten(0, -2)  # (table.T @ rows.T).T is p @ table, and reads a table of contiguous columns faster
            return (table.to(p.dtype).mT @ rows.mT).mT.reshape(*p.shape[:-1], table.shape[-1])

    def signal_flops(self, tokens: int) -> int:
        """FLOPs of the signal of ``tokens`` paths."""
        return 2 * tokens * self.dims.vocab_size * self.dims.n_embd if self.space == "embeddings" else 0

    def cost(self, tokens: int) -> Cost:
        return Cost(flops=self.signal_flops(tokens) + 2 * tokens * tokens * self.width)


class LearnableSimilarity(VectorSimilarity):
    """Compares vectors with weights of its own, which start where all S are 0: attention begins as peer mean."""

    symmetric = False
    bounds = None

    def __init__(self, dims: Dims, *, temperature: float, space: Space) -> None:
        super().__init__(dims, temperature=temperature, space=space)
        if self.width < 1:
            size = "n_embd" if space == "embeddings" else "vocab_size"
            raise UserError(f"a learnable similarity on space={space} needs {size}=")


class ZeroLinear(nn.Linear):
    """A linear layer that starts at 0, whatever the model's initialisation."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
