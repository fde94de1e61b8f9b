"""A mixture of experts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.alpha.base import Alpha
from gatewright.parts.feedforward import dispatch
from gatewright.parts.feedforward.base import FeedForward
from gatewright.parts.feedforward.routing import Router, Routing, balance_loss, router_z_loss
from gatewright.parts.part import Cost, Dims
from gatewright.registry import create, find, register, split_spec


@register("feedforward", "moe")
class MoE(FeedForward):
    """Mixture of experts: ``Σ_i g_i expert_i(x)`` over the top_k experts of a token (Shazeer et al., arXiv:1701.06538).

    - ``expert``: any other feed-forward, with its knobs; ``hidden`` is the width of one. Each expert of an α-gated kind
      has an α of its own, unless the whole model shares one.
    - ``normalise``: the weights g of a token add up to 1. Needs top_k ≥ 2: a single weight would always be 1 and teach
      the router nothing.
    - ``balance``, ``z_loss``: coefficients of the router's two losses in training (`balance_loss`, `router_z_loss`).
    - ``capacity_factor`` c: in training an expert takes at most ``⌈c · top_k · T / n_experts⌉`` tokens of a sequence of
      T (and no more than T); a choice that finds its expert full adds nothing, and the token passes by the residual
      connection. Each sequence is filled by itself, in reading order. Null: nothing is dropped.

    Evaluation and generation never drop a token, so a token's output does not hang on its neighbours. Nothing here
    sees an attention mask: padding is routed too. What is compiled or exported without a capacity runs every expert on
    every token (`reference`), because the sizes of the sorted path are not known beforehand.
    """

    load: Tensor
    dropped: Tensor

    def __init__(
        self,
        dims: Dims,
        *,
        hidden: int,
        expert: Any = "standard",
        n_experts: int = 8,
        top_k: int = 2,
        capacity_factor: float | None = None,
        balance: float = 0.01,
        z_loss: float = 0.0,
        normalise: bool = True,
        activation: Any = None,
        alpha: Any = None,
        form: str | None = None,
        gate_norm: Literal["before", "after"] | None = None,
    ) -> None:
        super().__init__()
        _check(n_experts, top_k, capacity_factor, normalise, {"balance": balance, "z_loss": z_loss})
        _check_expert(expert)
        self.n_experts, self.top_k, self.capacity_factor = n_experts, top_k, capacity_factor
        self.balance, self.z_loss = balance, z_loss
        self.router = Router(dims, n_experts, top_k, normalise)
        context = {"activation": activation, "alpha": alpha, "form": form, "gate_norm": gate_norm}
        required = ("alpha", "form", "gate_norm")
        make = partial(create, "feedforward", expert, dims, hidden=hidden, required=required, **context)
        self.experts = nn.ModuleList(make() for _ in range(n_experts))
        self._shared = sum(p.numel() for p in alpha.parameters()) if isinstance(alpha, Alpha) else 0
        capacity = f"@{capacity_factor:g}" if capacity_factor is not None else ""
        self.label = f"MoE{n_experts}x{top_k}{capacity}-{self.experts[0].label}"
        # choices by expert, and how many were turned away: [choices, tokens left with no expert at all]
        self.register_buffer("load", torch.zeros(n_experts, dtype=torch.long), persistent=False)
        self.register_buffer("dropped", torch.zeros(2, dtype=torch.long), persistent=False)

    @classmethod
    def own_activation(cls, knobs: Mapping[str, Any]) -> Any:
        name, expert_knobs = split_spec("moe.expert", knobs.get("expert", "standard"))
        expert = find("feedforward", name)
        return knobs.get("activation") or expert.target.own_activation({**expert_knobs, **expert.fixed})

    def reset(self) -> None:
        self.load.zero_()
        self.dropped.zero_()

    def forward(self, x: Tensor) -> Tensor:
        sequences = x.reshape(-1, *x.shape[-2:])  # (B, T, D)
        routing: Routing = self.router(sequences)
        served = None
        if self.training and self.capacity_factor is not None:
            capacity = self.capacity(sequences.shape[1])
            y, served = dispatch.within_capacity(sequences, routing, self.experts, capacity)
        elif torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
            y = dispatch.dense(sequences, routing, self.experts)
        else:
            y = dispatch.dropless(sequences, routing, self.experts)
        if not torch.compiler.is_exporting():  # an exported graph has no loss and no log
            self.aux_loss = self._observe(routing, served) if self.training else None
        return y.reshape(x.shape)

    def reference(self, x: Tensor) -> Tensor:
        """What `forward` computes where nothing is dropped, in the plainest way: every expert on every token."""
        sequences = x.reshape(-1, *x.shape[-2:])
        return dispatch.dense(sequences, self.router(sequences), self.experts).reshape(x.shape)

    def capacity(self, tokens: int) -> int:
        """How many of a sequence's ``tokens`` one expert takes in training."""
        if self.capacity_factor is None:
            return tokens
        return min(tokens, math.ceil(self.capacity_factor * self.top_k * tokens / self.n_experts))

    def report(self) -> dict[str, float]:
        """Shares over the last training batch (empty before the first).

        - ``expert_utilisation``: entropy of the experts' shares of the choices over ln E; 1 where all are used alike.
        - ``max_load_share``: the busiest expert's share; 1/E is even, 1/top_k the most there can be.
        - ``dropped_tokens``: share of tokens that found all their experts full; their output is 0.
        - ``dropped_choices``: share of (token, expert) pairs that were turned away; larger, because many a token is
          served by some of its experts.
        """
        load = self.load.tolist()
        choices = sum(load)
        if not choices:
            return {}
        dropped_choices, dropped_tokens = self.dropped.tolist()
        entropy = -sum(n / choices * math.log(n / choices) for n in load if n)
        return {
            "expert_utilisation": entropy / math.log(self.n_experts),
            "max_load_share": max(load) / choices,
            "dropped_tokens": dropped_tokens * self.top_k / choices,
            "dropped_choices": dropped_choices / choices,
        }

    def cost(self, tokens: int) -> Cost:
        """The cost of a training pass over one sequence, as executed in eager mode.

        Experts run top_k · tokens times, or with a capacity n_experts · `capacity` times, empty places included.
        Active are the router and top_k experts.
        """
        router = self.router.cost(tokens)
        rows = self.top_k * tokens if self.capacity_factor is None else self.n_experts * self.capacity(tokens)
        expert: Cost = self.experts[0].cost(rows)  # type: ignore[operator]
        own = expert.parameters - self._shared
        return router + Cost(self.n_experts * own + self._shared, expert.flops, self.top_k * own + self._shared)

    def __getstate__(self) -> dict[str, Any]:
        # the last loss hangs on its graph, which can neither be copied nor pickled
        return {key: value for key, value in super().__getstate__().items() if key != "aux_loss"}

    def _observe(self, routing: Routing, served: Tensor | None) -> Tensor:
        load = routing.assigned().sum((0, 1, 2))
        self.load.copy_(load)
        if served is not None:
            self.dropped.copy_(torch.stack([(~served).sum(), (~served.any(-1)).sum()]))
        loss = self.balance * balance_loss(routing.logits, load)
        return loss + self.z_loss * router_z_loss(routing.logits) if self.z_loss else loss


def _check(
    n_experts: int, top_k: int, capacity_factor: float | None, normalise: bool, coefficients: dict[str, float]
) -> None:
    if n_experts < 2:
        raise UserError(f"moe.n_experts={n_experts}: must be at least 2")
    if not 1 <= top_k <= n_experts:
        raise UserError(f"moe.top_k={top_k}: must be between 1 and moe.n_experts={n_experts}")
    if top_k == 1 and normalise:
        raise UserError("moe.top_k=1 with moe.normalise=true gives the router no gradient; set moe.normalise=false")
    if capacity_factor is not None and not (math.isfinite(capacity_factor) and capacity_factor > 0):
        raise UserError(f"moe.capacity_factor={capacity_factor}: must be positive, or null for no limit")
    for name, value in coefficients.items():
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"moe.{name}={value}: must be at least 0")


def _check_expert(spec: Any) -> None:
    name, knobs = split_spec("moe.expert", spec)
    if issubclass(find("feedforward", name).target, MoE):
        raise UserError("moe.expert=moe: an expert cannot be a mixture itself")
    if "hidden" in knobs:
        raise UserError("moe.expert.hidden: the width of one expert is the mixture's own 'hidden' (model.hidden)")
