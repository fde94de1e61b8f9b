"""The text of a file with a gate, sound or broken in one way."""

from __future__ import annotations

from string import Template

TEXT = Template('''import torch
from torch import Tensor, nn

from gatewright import register
from gatewright.parts.gates.base import Gate
from gatewright.parts.part import Cost, Dims


@register("gate", "$name")
class Mine(Gate):
    """Mine: ``a σ(s b)``."""

    label = "Mine"

    def __init__(self, dims: Dims$knobs) -> None:
        super().__init__(dims)
        self.slope = nn.Parameter(torch.empty(dims.width))
        $set_up
        self.reset()

    def reset(self) -> None:
        nn.init.ones_(self.slope)

    def forward(self, value: Tensor, gate: Tensor, x: Tensor) -> Tensor:
        return $output

    def cost(self, tokens: int) -> Cost:
        return $cost

    $more
''')
SOUND = {
    "name": "mine",
    "knobs": "",
    "set_up": "pass",
    "output": "value * (self.slope * gate).sigmoid()",
    "cost": "Cost(self.slope.numel())",
    "more": "",
}
LINE_OF_OUTPUT = 1 + TEXT.template[: TEXT.template.index("$output")].count("\n")
LINE_OF_DECORATOR = 1 + TEXT.template[: TEXT.template.index("@register")].count("\n")


def gate_file(**changes: str) -> str:
    """A file that registers the gate ``mine``, with some of `SOUND` replaced."""
    return TEXT.substitute(SOUND | changes)
