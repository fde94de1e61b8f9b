"""The router of a mixture of experts, and the two losses that keep it in shape."""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewright.parts.part import Cost, Dims, Part, linear_cost


class Routing(NamedTuple):
    """Where each token goes: its k experts and how much each of them counts."""

    logits: Tensor
    """``(B, T, E)``, float32 or wider."""
    chosen: Tensor
    """``(B, T, k)``, indices of experts, the likeliest first; no expert twice."""
    weights: Tensor
    """``(B, T, k)``, what each chosen expert's output is multiplied by."""

    def assigned(self) -> Tensor:
        """``(B, T, k, E)``, true where a token's choice is that expert."""
        return self.chosen.unsqueeze(-1) == torch.arange(self.logits.shape[-1], device=self.chosen.device)


class Router(Part):
    """``p = softmax(W x)`` over E experts; the k largest entries choose, and weigh, a token's experts.

    ``normalise`` divides the k weights by their sum. Computed in float32 whatever the precision around it: bf16 rounds
    logits so coarsely that experts change places (Switch Transformers, §2.4, arXiv:2101.03961).
    """

    def __init__(self, dims: Dims, n_experts: int, top_k: int, normalise: bool) -> None:
        super().__init__()
        self.top_k, self.normalise = top_k, normalise
        self.projection = nn.Linear(dims.n_embd, n_experts, bias=False)

    def forward(self, x: Tensor) -> Routing:
        """The routing of each token of ``x`` ``(B, T, D)``."""
        wide = torch.promote_types(x.dtype, torch.float32)
        device = x.device.type
        # autocast would lower the product again; it is asked first because it does not exist on every device
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            logits = F.linear(x.to(wide), self.projection.weight.to(wide))
        weights, chosen = logits.softmax(-1).topk(self.top_k, dim=-1)
        if self.normalise:
            weights = weights / weights.sum(-1, keepdim=True)
        return Routing(logits, chosen, weights)

    def cost(self, tokens: int) -> Cost:
        return linear_cost(self.projection, tokens)


def balance_loss(logits: Tensor, load: Tensor) -> Tensor:
    """``E Σ_e f_e P_e``: 1 where the load is even, E where one expert gets everything (arXiv:2101.03961, §2.2).

    f_e is expert e's share of all choices, from ``load`` ``(E,)``, without gradient; P_e its mean probability under
    ``logits`` ``(B, T, E)``, over the whole batch.
    """
    share = load / load.sum()
    probability = logits.softmax(-1).flatten(0, -2).mean(0)
    return load.numel() * (share * probability).sum()


def router_z_loss(logits: Tensor) -> Tensor:
    """``mean((log Σ_e exp logit_e)²)``: keeps router logits small (ST-MoE, arXiv:2202.08906, §3.3)."""
    return logits.logsumexp(-1).square().mean()
