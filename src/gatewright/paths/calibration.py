"""The temperature at which a similarity has as many effective peers as another one."""

from __future__ import annotations

import math

from torch import Tensor

from gatewright.errors import UserError
from gatewright.paths.attention import attend, effective_peers, peers

ALIKE = 1e-4
"""Similarities closer than this share of the largest spread are the same but for rounding."""


def calibrate_temperature(similarities: Tensor, live: Tensor, target: float) -> float:
    """The T at which ``exp(H(A))``, averaged over all paths whose live peers are not all alike, is ``target``.

    ``similarities`` ``(..., N, N)`` are S as met in rollouts, ``live`` is ``(..., N)``. Similarities differ in scale:
    at one T some attend to a single peer, others to all alike. At equal effective peers what is left to compare is whom
    they choose. A path has no choice between peers that are equally similar to it, as all are that have said the same:
    it hears them alike at any T, and does not count. The mean rises with T, from the number of peers that share the
    first place to that of all live peers: `UserError` if ``target`` is not strictly between.
    """
    from scipy.optimize import brentq

    heard = peers(live.cpu())
    s = similarities.detach().cpu().double()
    highest = s.masked_fill(~heard, -math.inf).amax(-1, keepdim=True)
    lowest = s.masked_fill(~heard, math.inf).amin(-1, keepdim=True)
    spreads = (highest - lowest)[..., 0].masked_fill(~heard.any(-1), 0.0)
    spread = spreads.max().item()
    chooses = spreads > ALIKE * spread
    if not chooses.any():
        raise UserError("no temperature can be calibrated: no path has live peers that differ")
    few = ((s == highest) & heard).sum(-1)[chooses].double().mean().item()
    many = heard.sum(-1)[chooses].double().mean().item()
    if not few < target < many:
        raise UserError(
            f"no temperature gives {target:g} effective peers: they range from {few:.4g} to {many:.4g} here"
        )

    def excess(log_temperature: float) -> float:
        attention = attend(s, live.cpu(), spread * math.exp(log_temperature))
        return effective_peers(attention)[chooses].mean().item() - target

    try:
        return spread * math.exp(brentq(excess, -30.0, 30.0, xtol=1e-12))
    except ValueError:  # a target closer to an end than any temperature in between
        raise UserError(f"no temperature gives {target:g} effective peers to within rounding") from None
