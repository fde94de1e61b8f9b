"""A gate in a convolutional network."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.gates.base import Gate
from gatewright.parts.part import Dims
from gatewright.registry import create


class GatedConv2d(nn.Module):
    """``gate(A(x), B(x), x)`` at every pixel: maps ``(B, C_in, H, W)`` to ``(B, C_out, H, W)``, with or without B.

    A and B are 1×1 convolutions; B does not exist where the gate's form uses the value stream alone. The same function
    as `GatedUnit` on a pixel's channels. ``gate`` is any registered gate, the rest as for `make_gate`; raises
    `UserError` as that does.
    """

    def __init__(
        self,
        gate: Any,
        in_channels: int,
        out_channels: int,
        *,
        alpha: Any = None,
        form: str | None = None,
        gate_norm: Literal["none", "before", "after"] | None = None,
        activation: Any = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        for key, size in (("in_channels", in_channels), ("out_channels", out_channels)):
            if size < 1:
                raise UserError(f"{key}={size}: must be at least 1")
        self.gate: Gate = create(
            "gate",
            gate,
            Dims(in_channels, width=out_channels, bias=bias),
            required=("alpha", "form", "gate_norm"),
            alpha=alpha,
            form=form,
            gate_norm=None if gate_norm == "none" else gate_norm,
            activation=activation,
        )
        self.up_proj = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        self.gate_proj = nn.Conv2d(in_channels, out_channels, 1, bias=bias) if self.gate.two_streams else None

    def forward(self, x: Tensor) -> Tensor:
        """The gated projection of each pixel of ``x`` ``(B, C_in, H, W)``."""
        value = _channels_last(self.up_proj(x))
        gate = value if self.gate_proj is None else _channels_last(self.gate_proj(x))
        return self.gate(value, gate, _channels_last(x)).movedim(-1, -3)


def _channels_last(x: Tensor) -> Tensor:
    """``(…, C, H, W)`` to ``(…, H, W, C)``, where gates expect their width; a view."""
    return x.movedim(-3, -1)
