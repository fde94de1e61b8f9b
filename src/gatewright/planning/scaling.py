"""How good a model gets for its compute: the laws of Hoffmann et al. (2022) and Besiroglu et al. (2024).

    L(N, D) = E + A / N^α + B / D^β,        C = 6 N D

N parameters, D tokens, C FLOPs; L in nats per token of the text the laws were fitted on (MassiveText), with its
tokenizer. Losses on another text differ; which N and D are best for a C differs much less.
"""

from __future__ import annotations

from dataclasses import dataclass

FITTED_PARAMETERS = (70e6, 16e9)
FITTED_TOKENS = (5e9, 500e9)
"""What the runs behind the laws spanned (Hoffmann et al. 2022, abstract)."""


@dataclass(frozen=True)
class Optimum:
    """The best use of a budget."""

    parameters: float
    tokens: float
    loss: float


@dataclass(frozen=True)
class ScalingLaw:
    """One fit of the law above."""

    name: str
    E: float
    A: float
    B: float
    alpha: float
    beta: float
    source: str

    def loss(self, parameters: float, tokens: float) -> float:
        """L(N, D)."""
        return self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta

    def optimum(self, flops: float) -> Optimum:
        """The N and D of least loss for C = 6ND, in closed form (Hoffmann et al. 2022, equation 4).

        N = G (C/6)^a, D = (C/6)^b / G, with G = (αA / βB)^(1/(α+β)), a = β/(α+β), b = α/(α+β).
        """
        total = self.alpha + self.beta
        balance = (self.alpha * self.A / (self.beta * self.B)) ** (1 / total)
        parameters = balance * (flops / 6) ** (self.beta / total)
        tokens = flops / 6 / parameters
        return Optimum(parameters, tokens, self.loss(parameters, tokens))

    def tokens_for(self, parameters: float) -> float:
        """The D for which ``parameters`` is the best size: where αA/N^α = βB/D^β, the condition behind `optimum`."""
        ratio = self.beta * self.B / (self.alpha * self.A)
        return (ratio * parameters**self.alpha) ** (1 / self.beta)


HOFFMANN = ScalingLaw(
    "hoffmann2022", 1.69, 406.4, 410.7, 0.34, 0.28,
    "Hoffmann et al. 2022, arXiv:2203.15556, approach 3, equation 10: as printed, rounded",
)  # fmt: skip
HOFFMANN_TEX = ScalingLaw(
    "hoffmann2022-tex", 1.6934, 406.4, 410.7, 0.33917, 0.28491,
    "the same fit with the digits of the paper's TeX source, as given by Besiroglu et al. 2024",
)  # fmt: skip
BESIROGLU = ScalingLaw(
    "besiroglu2024", 1.8172, 482.01, 2085.43, 0.3478, 0.3658,
    "Besiroglu et al. 2024, arXiv:2404.10102: approach 3 fitted anew to the data of Hoffmann et al.",
)  # fmt: skip

LAWS = (BESIROGLU, HOFFMANN, HOFFMANN_TEX)


def extrapolated(parameters: float, tokens: float) -> bool:
    """Whether a model and its text lie outside of what the laws were fitted on."""
    low, high = FITTED_PARAMETERS
    least, most = FITTED_TOKENS
    return not (low <= parameters <= high and least <= tokens <= most)
