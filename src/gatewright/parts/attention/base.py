"""Causal self-attention around a kernel: projections, heads, norms, cache, mask, output gate.

A registered attention is this class with another `Attention.attend`.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.attention.cache import LayerCache
from gatewright.parts.part import Cost, Dims, Part, linear_cost, residual_output
from gatewright.parts.positions.base import Places, Span
from gatewright.parts.positions.rope import rotate
from gatewright.parts.together import linear_together
from gatewright.registry import create


class Attention(Part):
    """``softmax(q kᵀ / √head_dim + mask) v`` with grouped queries, ``(B, T, D)`` to ``(B, T, D)``.

    - ``dims.kv_heads`` < ``dims.n_head``: grouped-query attention (arXiv:2305.13245); 1 is multi-query.
    - ``window``: a query sees itself and the ``window − 1`` tokens before it (arXiv:2004.05150).
    - ``qk_norm``: a norm over each head's channels of queries and keys, before the rotation (arXiv:2010.04245, Qwen3).
    - ``output_gate``: ``σ(W x)`` on what attention returns, one value per head or per element (arXiv:2505.06708).
    """

    def __init__(
        self,
        dims: Dims,
        *,
        dropout: float = 0.0,
        window: int | None = None,
        qk_norm: Any = "none",
        output_gate: Literal["none", "head", "element"] = "none",
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UserError(f"attention.dropout={dropout}: must be in [0, 1)")
        if window is not None and window < 1:
            raise UserError(f"attention.window={window}: must be at least 1")
        self.n_head, self.kv_heads, self.head_dim = dims.n_head, dims.kv_heads, dims.head_dim
        self.dropout, self.window, self.output_gate = dropout, window, output_gate
        inner = self.n_head * self.head_dim
        self.q_proj = nn.Linear(dims.n_embd, inner, bias=dims.bias)
        self.k_proj = nn.Linear(dims.n_embd, self.kv_heads * self.head_dim, bias=dims.bias)
        self.v_proj = nn.Linear(dims.n_embd, self.kv_heads * self.head_dim, bias=dims.bias)
        self.o_proj = residual_output(nn.Linear(inner, dims.n_embd, bias=dims.bias))
        self.q_norm = create("norm", qk_norm, dims.at(width=self.head_dim))
        self.k_norm = create("norm", qk_norm, dims.at(width=self.head_dim))
        gates = {"none": 0, "head": self.n_head, "element": inner}[output_gate]
        self.gate_proj = nn.Linear(dims.n_embd, gates, bias=dims.bias) if gates else None

    @property
    def label(self) -> str:  # type: ignore[override]
        """Only what changes the function computed: no word for the kernel."""
        words = [f"W{self.window}"] if self.window else []
        words += ["QKNorm"] if sum(p.numel() for p in self.q_norm.parameters()) else []
        words += [f"{self.output_gate.title()}Gate"] if self.gate_proj is not None else []
        return "-".join(words)

    def forward(self, x: Tensor, span: Span, places: Places, cache: LayerCache | None = None) -> Tensor:
        """Attend from the T tokens of ``x`` ``(B, T, D)`` to themselves and what ``cache`` holds."""
        queries, keys, values = linear_together(x, self.q_proj, self.k_proj, self.v_proj)
        q = self.q_norm(self._heads(queries, self.n_head))  # (B, H, T, head_dim)
        k = self.k_norm(self._heads(keys, self.kv_heads))
        v = self._heads(values, self.kv_heads)
        if places.rotation is not None:
            q, k = rotate(q, places.rotation), rotate(k, places.rotation)
        if cache is not None:
            k, v = cache.append(k, v)
        y = self.attend(q, k, v, self._mask(span, places, q.dtype)).transpose(1, 2)  # (B, T, H, head_dim)
        if self.gate_proj is not None:
            y = y * torch.sigmoid(self.gate_proj(x)).unflatten(-1, (self.n_head, -1))
        return self.o_proj(y.flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """The kernel: q ``(B, H, T, head_dim)``, k and v ``(B, kv_heads, S, head_dim)`` → ``(B, H, T, head_dim)``.

        ``mask`` is None for plain causal attention with S = T, else boolean (true: may look) or a float bias,
        broadcastable to ``(B, H, T, S)``.
        """
        raise NotImplementedError

    def _heads(self, x: Tensor, heads: int) -> Tensor:
        return x.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)

    def _mask(self, span: Span, places: Places, dtype: torch.dtype) -> Tensor | None:
        given = (span.key_mask, span.same_document, places.bias, self.window)
        if span.start == 0 and all(each is None for each in given):
            return None
        distance = span.distance()
        seen = distance >= 0
        if self.window is not None:
            seen = seen & (distance < self.window)
        if span.same_document is not None:
            seen = seen & span.same_document
        if span.key_mask is not None:
            # a padded query may look at itself, lest it look at nothing and become NaN
            seen = (seen & span.key_mask[:, None, None, :]) | (distance == 0)
        if places.bias is None:
            return seen
        return places.bias.to(dtype).masked_fill(~seen, float("-inf"))

    def cost(self, tokens: int) -> Cost:
        projections = [self.q_proj, self.k_proj, self.v_proj, self.o_proj]
        projections += [self.gate_proj] if self.gate_proj is not None else []
        total = sum((linear_cost(p, tokens) for p in projections), Cost())
        products = 4 * tokens * tokens * self.n_head * self.head_dim  # q kᵀ and its product with v
        return total + self.q_norm.cost(tokens) + self.k_norm.cost(tokens) + Cost(0, products)
