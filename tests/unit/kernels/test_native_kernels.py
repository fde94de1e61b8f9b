"""The loops in C++ against their plain references, and what happens where they cannot be built."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import gatewright as gw
from gatewright.hardware.compiler import cpp_compiler
from gatewright.kernels import native as native_module
from gatewright.kernels import native_negentropy as module
from gatewright.kernels.native import native
from gatewright.kernels.native_cross_entropy import native_cross_entropy
from gatewright.kernels.native_moments import native_moments
from gatewright.kernels.native_moments import native_usable as moments_usable
from gatewright.paths.similarities import jsd
from gatewright.training.parallel.moments import moments

needs_compiler = pytest.mark.skipif(cpp_compiler() is None, reason="there is no C++ compiler")


@pytest.fixture
def unbuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and nothing loaded."""
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path))
    native.cache_clear()
    yield tmp_path
    native.cache_clear()


def distributions(*shape: int, scale: float = 3.0) -> Tensor:
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(0))).log_softmax(-1)


@needs_compiler
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("vocabulary", "scale"), [(2, 1.0), (1024, 3.0), (5003, 0.1), (5003, 30.0)])
def test_the_negentropy_of_means(vocabulary: int, scale: float, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log_p = distributions(2, 5, vocabulary, scale=scale)
    log_p[1, 4] = log_p[1, 2]
    log_p[0, 0, 1:] = -torch.inf
    log_p[0, 0, 0] = 0.0
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found = module.native_mean_negentropy(log_p)
    torch.testing.assert_close(found, jsd._mean_negentropy(log_p.double()), rtol=2e-7, atol=2e-7)
    assert torch.equal(found, found.mT)
    assert found[1, 2, 2] == found[1, 2, 4] == found[1, 4, 4]  # to the last bit, so that their JSD is 0
    assert torch.equal(found, module.native_mean_negentropy(log_p))


@needs_compiler
def test_the_gate_uses_it_on_large_vocabularies_only(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    real = module.native_mean_negentropy
    monkeypatch.setattr(jsd, "native_mean_negentropy", lambda x: used.append(x.shape) or real(x))
    gate = gw.make_similarity("jsd")
    large = distributions(1, 2, 3, module.LARGE // 9 + 1)
    gate.similarity(large)
    assert used == [(2, 3, module.LARGE // 9 + 1)]
    gate.similarity(distributions(1, 3, 50))
    gate.similarity(large[0].double())
    gate(large.requires_grad_()).sum().backward()
    assert len(used) == 1
    assert large.grad.isfinite().all()


@needs_compiler
def test_it_is_built_once_and_kept(unbuilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native("negentropy") is not None
    (library,) = (unbuilt / "native").iterdir()
    native.cache_clear()
    monkeypatch.setattr(native_module.subprocess, "run", None)
    assert native("negentropy") is not None
    assert list((unbuilt / "native").iterdir()) == [library]


def test_without_a_compiler_tiles_do(unbuilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_module, "cpp_compiler", lambda: None)
    log_p = distributions(8, module.LARGE // 64 + 1)
    assert not module.native_usable(log_p)
    s = gw.make_similarity("jsd").similarity(log_p)
    exact = gw.make_similarity("jsd").reference(log_p.double())
    torch.testing.assert_close(s.double(), exact, atol=1e-5, rtol=0)


def test_a_compiler_that_fails_is_told_of_and_nothing_is_left(unbuilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = unbuilt / "broken"
    compiler.write_text("#!/bin/sh\necho 'unknown flag -march' >&2\nexit 1\n")
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(native_module, "cpp_compiler", lambda: str(compiler))
    with pytest.warns(UserWarning, match=r"negentropy\.cpp could not be built, .* \(unknown flag -march\)"):
        assert native("negentropy") is None
    assert list((unbuilt / "native").iterdir()) == []


@needs_compiler
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 6e-6), (torch.bfloat16, 2**-8)])
@pytest.mark.parametrize("scale", [0.1, 5.0, 300.0])
def test_cross_entropy_and_its_gradient(dtype: torch.dtype, tolerance: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn(7, 3001, generator=generator)).to(dtype)
    logits[1, 5] = -torch.inf
    targets = torch.randint(3001, (7,), generator=generator)
    targets[2] = -100
    targets[3] = logits[3].argmax()
    exact = logits.double().requires_grad_()
    expected = torch.nn.functional.cross_entropy(exact, targets, reduction="none")
    expected.sum().backward()
    assert exact.grad is not None
    kept = logits.clone()
    judged = native_cross_entropy(logits, targets, -100, learns=False)
    assert torch.equal(logits, kept)
    losses = native_cross_entropy(logits, targets, -100, learns=True)
    assert torch.equal(judged, losses)
    torch.testing.assert_close(losses.double(), expected.detach(), rtol=3e-7, atol=1e-6)
    # x − max has an error of 2⁻²⁴ |x − max|, and e^x is above the smallest number down to x = −87
    torch.testing.assert_close(logits.double(), exact.grad, rtol=tolerance, atol=1e-37)
    assert not logits[2].any()


@needs_compiler
def test_cross_entropy_hides_nothing() -> None:
    logits = torch.zeros(3, 40)
    logits[0, 7], logits[1, 7] = torch.nan, torch.inf
    losses = native_cross_entropy(logits, torch.tensor([0, 0, 0]), -100, learns=True)
    assert losses.isfinite().tolist() == [False, False, True]
    assert logits[:2].isnan().any(1).all()
    with pytest.raises(IndexError, match="vocabulary of 40"):
        native_cross_entropy(logits, torch.tensor([0, 40, 0]), -100, learns=True)
    with pytest.raises(ValueError, match="contiguous"):
        native_cross_entropy(logits[:, :20], torch.tensor([0, 0, 0]), -100, learns=True)


@needs_compiler
def test_moments_of_many_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(40_000,), (), (0,), (128, 127), (16_384,), (3,)]
    tensors = [1 + torch.randn(shape, generator=generator) for shape in shapes]
    numbers = torch.cat([tensor.double().flatten() for tensor in tensors])
    found = native_moments(tensors)
    torch.testing.assert_close(found, torch.stack((numbers.square().sum(), numbers.sum())), rtol=1e-6, atol=0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(found, native_moments(tensors))  # however many threads there are
    tensors[3][5, 6] = torch.nan
    assert native_moments(tensors).isnan().all()
    assert native_moments([]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("plain", [False, pytest.param(True, id="without a compiler")])
def test_sums_over_gradients(plain: bool, unbuilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if plain:
        monkeypatch.setattr(native_module, "cpp_compiler", lambda: None)
    cpu = torch.device("cpu")
    mixed = [torch.tensor([3.0, -1.0]), torch.tensor([[2.0]], dtype=torch.bfloat16)]
    turned = torch.arange(6.0).view(2, 3).T
    for tensors, expected in ((mixed, [14.0, 4.0]), ([turned], [55.0, 15.0]), ([turned.contiguous()], [55.0, 15.0])):
        assert moments(tensors, cpu, first=True).tolist() == pytest.approx(expected, rel=1e-6)
        assert moments(tensors, cpu, first=False).tolist() == pytest.approx(expected[:1], rel=1e-6)
        assert moments(tensors, cpu, first=True).dtype is torch.float32
    assert not moments_usable(mixed)
    assert not moments_usable([turned])
    assert moments([], cpu, first=True).tolist() == [0.0, 0.0]
