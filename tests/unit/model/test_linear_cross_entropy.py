"""The cross-entropy of a linear head, by slices, against the one that has all logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gatewright as gw
from gatewright.model import linear_cross_entropy as module
from gatewright.model.linear_cross_entropy import IGNORED, linear_cross_entropy

ROWS, WIDTH, VOCABULARY = 23, 5, 11


@pytest.fixture(autouse=True)
def slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven rows at a time, their gradients by three rows and four words; the last of each is shorter."""
    monkeypatch.setattr(module, "SLICE", 7 * VOCABULARY)
    monkeypatch.setattr(module, "PIECE", 3)
    monkeypatch.setattr(module, "WORDS", 4)


def case(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a head reads, its weights and bias, and targets of which two are not scored."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (
        torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_()
        for shape in ((ROWS, WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,))
    )
    targets = torch.randint(VOCABULARY, (ROWS,), generator=generator)
    targets[[3, 22]] = IGNORED
    return hidden, weight, bias, targets


def plainly(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, reduction: Any) -> Tensor:
    logits = F.linear(hidden, weight, bias)
    return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction=reduction)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_loss_and_gradients_are_those_of_all_logits_at_once(reduction: Any, with_bias: bool) -> None:
    hidden, weight, bias, targets = case()
    some = bias if with_bias else None
    learned = [hidden, weight, *([bias] if with_bias else [])]
    ours, theirs = (f(hidden, weight, some, targets, reduction) for f in (linear_cross_entropy, plainly))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    pairs = zip(torch.autograd.grad(2.5 * ours, learned), torch.autograd.grad(2.5 * theirs, learned), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(hidden, weight, some, targets, reduction), theirs)


@pytest.mark.parametrize("compiled", [False, True])
def test_under_autocast_the_weights_gradient_is_as_exact_as_the_logits_allow(compiled: bool) -> None:
    hidden, weight, _, targets = case(torch.float32)
    fused: Any = torch.compile(linear_cross_entropy, fullgraph=True) if compiled else linear_cross_entropy
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (f(hidden, weight, None, targets, "mean") for f in (fused, plainly))
    exact = plainly(hidden.double(), weight.double(), None, targets, "mean")
    wanted = torch.autograd.grad(exact, (hidden, weight))
    found = torch.autograd.grad(ours, (hidden, weight))
    peers = torch.autograd.grad(theirs, (hidden, weight))
    assert ours.dtype == torch.float32
    assert abs(ours - theirs).item() < 1e-6
    for mine, peer, true in zip(found, peers, wanted, strict=True):
        assert mine.dtype == torch.float32
        assert (mine - true).abs().max() < 1.5 * (peer - true).abs().max()


def test_it_compiles_as_one_graph() -> None:
    hidden, weight, _, targets = case()
    whole = torch.compile(lambda h, w: linear_cross_entropy(h, w, None, targets), fullgraph=True)
    ours, theirs = whole(hidden, weight), plainly(hidden, weight, None, targets, "mean")
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    for found, expected in zip(
        torch.autograd.grad(ours, (hidden, weight)), torch.autograd.grad(theirs, (hidden, weight)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


def test_the_operator_says_of_itself_what_is_true() -> None:
    hidden, weight, bias, targets = (tensor.detach() for tensor in case())
    for learns in (False, True):
        torch.library.opcheck(module._fused, (hidden, weight, bias, targets, learns, False))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_model_whose_logits_need_not_be_kept(monkeypatch: pytest.MonkeyPatch, tied: bool, bias: bool) -> None:
    options = [f"model.tie_weights={str(tied).lower()}", f"model.bias={str(bias).lower()}"]
    small = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.vocab_size=11", "model.block_size=8"]
    model = gw.build(gw.load_config(["model=gpt2", *small, *options]).model)
    ids = torch.randint(11, (3, 8), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("gatewright.model.language_model.LARGE", 0)
    kept, fused = (model(ids, targets=ids, reduction="sum", keep_logits=keep) for keep in (True, False))
    assert kept.logits.shape == (3, 8, 11)
    assert fused.logits.numel() == 0
    torch.testing.assert_close(fused.loss, kept.loss)
    pairs = zip(*(torch.autograd.grad(one.loss, list(model.parameters())) for one in (kept, fused)), strict=True)
    for expected, found in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    monkeypatch.undo()
    assert model(ids, targets=ids, keep_logits=False).logits.numel()  # small logits are no burden


@pytest.mark.parametrize("kind", ["hidden", "logits"])
def test_memory_stays_at_a_slice(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the size of all logits is ever made, in either pass."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple | list) else [result]:
                if isinstance(tensor, Tensor):
                    self.size = max(self.size, tensor.numel())
            return result

    hidden, weight, _, targets = case()
    with Largest() as seen:
        function = linear_cross_entropy if kind == "hidden" else plainly
        function(hidden, weight, None, targets, "sum").backward()
    assert (seen.size < ROWS * VOCABULARY) == (kind == "hidden")
