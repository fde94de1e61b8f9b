"""The temperature at which a similarity has as many effective peers as another one."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from torch import Tensor

from gatewright.errors import UserError
from gatewright.paths.attention import attend, effective_peers, peers


def calibrate_temperature(similarities: Tensor, live: Tensor, target: float) -> float:
    """The T at which ``exp(H(A))``, averaged over all paths with a live peer, is ``target``.

    ``similarities`` ``(..., N, N)`` are S as met in rollouts, ``live`` is ``(..., N)``. Similarities differ in scale:
    at one T some attend to a single peer, others to all alike. At equal effective peers what is left to compare is whom
    they choose. The mean rises with T, from the number of peers that share the first place to that of all live peers:
    `UserError` if ``target`` is not strictly between.
    """
    heard = peers(live.cpu())
    listens = heard.any(-1)
    if not listens.any():
        raise UserError("no temperature can be calibrated: no path has a live peer")
    s = similarities.detach().cpu().double()
    highest = s.masked_fill(~heard, -math.inf).amax(-1, keepdim=True)
    lowest = s.masked_fill(~heard, math.inf).amin(-1, keepdim=True)
    few = ((s == highest) & heard).sum(-1)[listens].double().mean().item()
    many = heard.sum(-1)[listens].double().mean().item()
    if not few < target < many:
        raise UserError(
            f"no temperature gives {target:g} effective peers: they range from {few:.4g} to {many:.4g} here"
        )
    spread = (highest - lowest)[listens].max().item()

    def excess(log_temperature: float) -> float:
        attention = attend(s, live.cpu(), spread * math.exp(log_temperature))
        return effective_peers(attention)[listens].mean().item() - target

    try:
        return spread * math.exp(brentq(excess, -30.0, 30.0, xtol=1e-12))
    except ValueError:  # a target closer to an end than any temperature in between
        raise UserError(f"no temperature gives {target:g} effective peers to within rounding") from None
