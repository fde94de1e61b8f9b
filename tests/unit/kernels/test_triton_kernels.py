"""The Triton kernels against their plain references, in Triton's interpreter where there is no GPU."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="triton comes with torch's CUDA builds; pip install triton runs its interpreter")

from gatewright.kernels.gated import GatedActivation
from gatewright.kernels.negentropy import STRETCH, MeanNegentropy
from gatewright.parts.gates.forms import find_form
from gatewright.parts.gates.pagate import FUSED, FUSED_FORMS
from gatewright.parts.part import Dims
from gatewright.paths.similarities import jsd
from gatewright.registry import create

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("vocabulary", [5, 1024, STRETCH + 3])
def test_the_negentropy_of_means_and_its_gradient(vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(2, 3, vocabulary, generator=generator)).to(DEVICE)
    logits[1, 2] = logits[1, 0]  # two paths of one mind
    log_p = logits.log_softmax(-1).requires_grad_()
    exact = log_p.detach().double().requires_grad_()
    given = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64).to(DEVICE)

    found = MeanNegentropy.apply(log_p)
    expected = jsd._mean_negentropy(exact)

    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert found[1, 0, 2] == found[1, 0, 0] == found[1, 2, 2]
    found.backward(given)
    expected.backward(given)
    torch.testing.assert_close(log_p.grad.double(), exact.grad, rtol=1e-5, atol=1e-7)


def test_a_token_that_cannot_be_has_no_gradient() -> None:
    log_p = torch.tensor([[[0.0, -torch.inf], [-torch.inf, 0.0]]], device=DEVICE, requires_grad=True)
    found = MeanNegentropy.apply(log_p)
    found.sum().backward()
    half = 0.5 * torch.log(torch.tensor(0.5))
    torch.testing.assert_close(found[0, 0, 1].cpu().float(), 2 * half)
    assert torch.isfinite(log_p.grad).all()


@pytest.mark.parametrize("activation", FUSED.values())
@pytest.mark.parametrize("form", FUSED_FORMS)
def test_a_gated_activation_and_its_gradients(form: str, activation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    value, gate, given = (3 * torch.randn(3, 7, 61, generator=generator).to(DEVICE) for _ in range(3))
    alpha = torch.tensor([0.3], device=DEVICE)
    ours = [x.clone().requires_grad_() for x in (value, gate, alpha)]
    plain = [x.double().requires_grad_() for x in (value, gate, alpha)]
    phi = create("activation", activation, Dims(61, width=61))

    found = GatedActivation.apply(*ours, form, activation)
    expected = find_form(form).combine(plain[0], plain[1], plain[0], plain[2], phi, lambda b, f: f(b))

    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    found.backward(given)
    expected.backward(given.double())
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-4, atol=1e-5)


def test_a_value_that_is_changed_in_place_afterwards_is_noticed() -> None:
    value = torch.randn(4, 8, device=DEVICE, requires_grad=True)
    gate = torch.randn(4, 8, device=DEVICE)
    kept = value * 1
    found = GatedActivation.apply(kept, gate, torch.ones(1, device=DEVICE), "gate", "silu")
    kept.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        found.sum().backward()
