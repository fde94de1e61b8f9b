"""Next tokens drawn with keys: what a path draws depends on its place and its distribution, on nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.errors import UserError
from gatewright.model.sampling import keep_nucleus
from gatewright.paths.keys import draw_keys, uniform


def check_sampling(temperature: float, top_p: float) -> None:
    """Raise `UserError` for a temperature or a nucleus out of range."""
    if not 0 <= temperature < float("inf"):
        raise UserError(f"temperature={temperature}: must be a number, and not negative")
    if not 0 < top_p <= 1:
        raise UserError(f"top_p={top_p}: must be in (0, 1]")


def draw_tokens(log_probs: Tensor, keys: Tensor, *, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    """One token for each row of ``log_probs`` ``(R, V)``, by its key ``(R,)``; temperature 0 is greedy.

    The inverse of the cumulative distribution at a uniform number of 48 bits, in float64 where the device has it.
    """
    if temperature == 0:
        return log_probs.argmax(-1)
    exact = torch.float32 if log_probs.device.type == "mps" else torch.float64
    mass = keep_nucleus(log_probs / temperature, top_p).to(exact).softmax(-1).cumsum(-1)
    place = uniform(keys).to(exact) + uniform(draw_keys(0, keys)).to(exact) * 2.0**-24
    place = place.clamp(max=1 - torch.finfo(exact).eps)  # in float32 the sum may round up to 1
    # The first token whose cumulative mass is beyond the place: its own mass cannot be 0.
    return torch.searchsorted(mass, place[:, None] * mass[:, -1:], right=True)[:, 0]
