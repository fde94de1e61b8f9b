"""Activations that are broken in one way each, for the tests of the contract itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewright.parts.activations.base import Activation
from gatewright.parts.part import Cost, Dims


class Scale(Activation):
    """Scale: ``s · x`` with one learnable number; sound, and what the broken ones derive from."""

    label = "Scale"

    def __init__(self, dims: Dims, *, start: float = 2.0) -> None:
        super().__init__(dims)
        self.start = start
        self.scale = nn.Parameter(torch.empty(()))
        self.reset()

    def reset(self) -> None:
        nn.init.constant_(self.scale, self.start)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x

    def cost(self, tokens: int) -> Cost:
        return Cost(1)


class WrongCount(Scale):
    """States no parameters, has one."""

    def cost(self, tokens: int) -> Cost:
        return Cost()


class Undocumented(Scale):
    __doc__ = ""


class Unnamed(Scale):
    """A part that has no word in a name."""

    label = ""


class Untyped(Scale):
    """A knob without annotation."""

    def __init__(self, dims: Dims, *, start=2.0) -> None:  # type: ignore[no-untyped-def]
        super().__init__(dims, start=start)


class WrongDefault(Scale):
    """A knob whose default is not of its type."""

    def __init__(self, dims: Dims, *, start: float = "2") -> None:  # type: ignore[assignment]
        super().__init__(dims, start=float(start))


class Casting(Scale):
    """Returns float32 whatever comes in."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.scale * x).float()


class Squeezing(Scale):
    """Loses the batch dimension of a batch of one."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.scale * x).squeeze(0)


class InPlace(Scale):
    """Overwrites its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(self.scale.detach())


class WrongGradient(Scale):
    """Computes x · s with a gradient that is twice what it should be."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x) - super().forward(x).detach()


class Exploding(Scale):
    """exp(x) overflows."""

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x.exp()


class Dividing(Scale):
    """x / |x| is 0 / 0 at 0."""

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x / x.norm(dim=-1, keepdim=True)


class Forgetful(Scale):
    """Does not restore its parameter."""

    def reset(self) -> None:
        if not hasattr(self, "made"):
            self.made = True
            nn.init.constant_(self.scale, self.start)


class Random(Scale):
    """Starts from the global random state."""

    def reset(self) -> None:
        nn.init.normal_(self.scale)


class Noisy(Scale):
    """Adds noise in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn_like(x)


class Hidden(Scale):
    """Keeps a number that matters outside of its state."""

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims)
        self.offset = torch.rand((), device="cpu").item()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.offset


class Clinging(Scale):
    """Keeps a tensor with its graph, which cannot be copied."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = super().forward(x)
        return self.last


class Coarse(Scale):
    """Rounds to steps of 0.1 in low precision only."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if y.dtype in (torch.float32, torch.float64) else y + 0.1 * y.abs()


class OtherThanItsReference(Scale):
    """Its fast path differs from its reference."""

    def reference(self, x: Tensor) -> Tensor:
        return self.scale * x + 1e-6


class FixedWidth(Scale):
    """Works at one width only."""

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims)
        self.weight = nn.Parameter(torch.empty(16))
        self.reset()

    def reset(self) -> None:
        super().reset()
        if hasattr(self, "weight"):
            nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.weight

    def cost(self, tokens: int) -> Cost:
        return Cost(17)
