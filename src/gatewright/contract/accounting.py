"""Lines about what a part says it costs."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gatewright.contract.case import Case
from gatewright.contract.line import demand, line


@line()
def cost(case: Case) -> None:
    """`cost` states the parameters there are and the FLOPs that FlopCounterMode counts, at any length."""
    subject = case.build()
    real = sum(parameter.numel() for parameter in subject.parameters())
    for batch, tokens in ((1, 1), (3, 7)):
        stated = subject.cost(tokens)
        demand(stated.parameters == real, f"states {stated.parameters} parameters, has {real}")
        demand(0 <= stated.active <= real, f"states {stated.active} active parameters of {real}")
        # the counter does not know the attention kernel of CPUs, but the products that make up attention
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
            subject(*case.inputs(batch=batch, tokens=tokens))
        counted = counter.get_total_flops()
        demand(
            counted == batch * stated.flops,
            f"states {stated.flops} FLOPs for a sequence of {tokens}; {batch} of them count {counted}",
        )
