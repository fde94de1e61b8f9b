"""The laws: their optimum against a search, their coefficients against what the papers derive from them."""

from __future__ import annotations

import pytest
from scipy.optimize import minimize_scalar

from gatewright.planning.scaling import BESIROGLU, HOFFMANN, HOFFMANN_TEX, LAWS, ScalingLaw, extrapolated


@pytest.mark.parametrize("flops", [1e18, 5.76e23, 1e26])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_no_other_size_is_better_for_the_budget(law: ScalingLaw, flops: float) -> None:
    best = law.optimum(flops)
    assert 6 * best.parameters * best.tokens == pytest.approx(flops)
    assert best.loss == law.loss(best.parameters, best.tokens)
    found = minimize_scalar(
        lambda size: law.loss(10**size, flops / 6 / 10**size), bounds=(6, 14), method="bounded", options={"xatol": 1e-9}
    )
    assert best.loss <= found.fun + 1e-12
    assert best.parameters == pytest.approx(10**found.x, rel=1e-3)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_tokens_for_a_size_undo_the_optimum(law: ScalingLaw) -> None:
    best = law.optimum(3e21)
    assert law.tokens_for(best.parameters) == pytest.approx(best.tokens)


def test_a_law_by_hand() -> None:
    """With A = B = 1 and α = β = 1 the best N and D are equal: N = D = 10 for C = 600, and L = 1 + 2/10."""
    law = ScalingLaw("by hand", 1.0, 1.0, 1.0, 1.0, 1.0, "")
    best = law.optimum(600)
    assert (best.parameters, best.tokens, best.loss) == pytest.approx((10, 10, 1.2))
    assert law.loss(5, 20) == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("flops", "parameters", "tokens"),
    [(1.62e20, 1e9, 27.1e9), (2.46e22, 10e9, 410.1e9), (1.71e24, 67e9, 4.1e12), (3.52e25, 280e9, 20.1e12)],
)
def test_hoffmann_against_the_optima_that_the_paper_prints(flops: float, parameters: float, tokens: float) -> None:
    """Table A3, approach 3. The digits of the TeX source come near; the rounded ones do not."""
    best = HOFFMANN_TEX.optimum(flops)
    assert best.parameters == pytest.approx(parameters, rel=0.07)
    assert best.tokens == pytest.approx(tokens, rel=0.12)
    assert HOFFMANN.optimum(flops).parameters < 0.92 * parameters


def test_chinchilla_is_near_the_optimum_of_besiroglu() -> None:
    """70 B parameters on 1.4 T tokens, 20 each: what Besiroglu et al. find their fit to agree with."""
    best = BESIROGLU.optimum(6 * 70e9 * 1.4e12)
    assert best.tokens / best.parameters == pytest.approx(20, rel=0.1)
    assert BESIROGLU.loss(70e9, 1.4e12) - best.loss < 1e-4


def test_where_the_laws_were_fitted() -> None:
    assert not extrapolated(1e9, 20e9)
    assert extrapolated(70e9, 100e9)
    assert extrapolated(1e9, 2e12)
    assert extrapolated(1e7, 20e9)
