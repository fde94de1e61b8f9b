"""Which precision is resolved to, and the loss scaler that fp16 needs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gatewright.config import Config, ModelConfig, TrainConfig
from gatewright.data import BlockSampler
from gatewright.errors import UserError
from gatewright.hardware.device import native_bf16
from gatewright.model.build import build
from gatewright.training import precision as precision_module
from gatewright.training.guard import NonFiniteError
from gatewright.training.optimizer import Optimizers
from gatewright.training.parallel import Parallel
from gatewright.training.precision import Precision, resolve_precision
from gatewright.training.text import TextUpdater
from gatewright.training.work import Equipment

CPU = torch.device("cpu")


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "float32")])
def test_auto_is_bf16_where_it_is_native(native: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_module, "native_bf16", lambda device: native)
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_bf16": False, "amx_bf16": False}, False),
        ({"neon": True}, False),
    ],
)
def test_native_bf16_on_cpus(abilities: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    assert native_bf16(CPU) is expected


def test_apple_gpus_stay_at_float32() -> None:
    assert resolve_precision("auto", torch.device("mps")) == "float32"


def test_fp16_needs_cuda() -> None:
    with pytest.raises(UserError, match=r"train.precision=fp16 needs device=cuda"):
        resolve_precision("fp16", CPU)
    assert resolve_precision("fp16", torch.device("cuda")) == "fp16"


def test_autocast_dtype_follows_the_name() -> None:
    a = torch.ones(2, 2)
    with Precision("bf16", CPU).autocast():
        assert (a @ a).dtype == torch.bfloat16
    with Precision("float32", CPU).autocast():
        assert (a @ a).dtype == torch.float32


def scaled_updater() -> TextUpdater:
    """fp16 training on the CPU: slow, and refused to users, but the same code path as on CUDA."""
    config = Config(
        model=ModelConfig(n_layer=1, n_head=2, n_embd=16, block_size=8, vocab_size=32),
        train=TrainConfig(batch_size=4, learning_rate=1e-2, warmup_steps=0, schedule="constant"),
    )
    model = build(config.model, seed=0)
    optimizers = Optimizers(model, config.train, CPU)
    work: Any = SimpleNamespace(sampler=BlockSampler(torch.arange(400).numpy() % 32, 8, 4, seed=0))
    return TextUpdater(work, Equipment(model, model, None, optimizers, Precision("fp16", CPU), Parallel(CPU), config))


def test_scaler_is_only_on_for_fp16() -> None:
    assert Precision("fp16", CPU).scaler.is_enabled()
    assert not Precision("bf16", CPU).scaler.is_enabled()
    assert not Precision("float32", CPU).scaler.is_enabled()


def test_fp16_learns_and_reports_unscaled_gradients() -> None:
    updater = scaled_updater()
    results = [updater.step(step) for step in range(20)]
    assert results[-1].loss < 0.7 * results[0].loss
    exact = scaled_updater()
    exact.precision = Precision("float32", CPU)
    torch.testing.assert_close(results[0].grad_norm, exact.step(0).grad_norm, rtol=0.02, atol=0)


def test_overflowing_gradients_skip_the_update_and_lower_the_scale() -> None:
    updater = scaled_updater()
    updater.step(0)
    weights = [parameter.detach().clone() for parameter in updater.model.parameters()]
    scale = updater.precision.scaler.get_scale()
    handle = updater.model.get_parameter("embedding.weight").register_hook(lambda grad: grad * float("inf"))
    result = updater.step(1)  # no error: the search for a scale goes through this
    handle.remove()
    assert torch.isfinite(result.loss)
    assert all(a.equal(b) for a, b in zip(weights, updater.model.parameters(), strict=True))
    assert updater.precision.scaler.get_scale() == scale / 2


def test_a_loss_that_is_nan_is_an_error_under_a_scaler_too() -> None:
    updater = scaled_updater()
    updater.model.get_submodule("blocks.0").register_forward_hook(lambda module, inputs, output: output * float("nan"))
    with pytest.raises(NonFiniteError, match="loss became nan at step 1"):
        updater.step(0)
