"""A loss that is no longer a number stops the run, names step and module, and reaches no checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import gatewright
from gatewright.config import Config
from gatewright.errors import RunError
from gatewright.run import Run
from gatewright.training import start
from gatewright.training.guard import NonFiniteGuard
from gatewright.training.loop import Trainer
from gatewright.training.subject import Subject
from gatewright.training.update import Updater

BAD_STEP = 7  # updates done before the bad one


@pytest.fixture(params=[False, True], ids=["checked every step", "deferred to the record"])
def guard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways the guard works; the second is that of CUDA, where nothing is read between records."""
    original = NonFiniteGuard.__init__

    def init(self: NonFiniteGuard, optimizers: Any, device: torch.device) -> None:
        original(self, optimizers, device, deferred=request.param)

    monkeypatch.setattr(NonFiniteGuard, "__init__", init)
    return bool(request.param)


def poison(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[nn.Module], None]) -> None:
    """Let ``spoil`` work on every model that training builds."""
    open_subject = start.open_subject

    def open_spoiled(*arguments: Any) -> Subject:
        subject = open_subject(*arguments)
        spoil(subject.model)
        return subject

    monkeypatch.setattr(start, "open_subject", open_spoiled)


def at_bad_step(monkeypatch: pytest.MonkeyPatch, action: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """A forward hook that applies ``action`` to the output in the bad step only."""
    steps: list[int] = []
    monkeypatch.setattr(Trainer, "tell_alphas", lambda self, step: steps.append(step))
    return lambda module, inputs, output: action(output) if steps and steps[-1] == BAD_STEP else output


def expect_failure(config: Config, console: Console, message: str) -> Run:
    with pytest.raises(RunError, match=message):
        gatewright.train(config, console=console)
    run = Run(config.out)
    assert run.status == "diverged"
    assert message.replace("\\", "") in run.summary["error"]
    for checkpoint in run.checkpoints():
        weights = load_file(checkpoint / "model.safetensors")
        state = load_file(checkpoint / "optimizer.safetensors")
        assert all(torch.isfinite(tensor).all() for tensor in [*weights.values(), *state.values()])
    assert all(record["step"] <= BAD_STEP for record in run.metrics())
    return run


def test_nan_in_the_forward_pass_names_step_and_module(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch, guard: bool
) -> None:
    def spoil(model: nn.Module) -> None:
        block = model.get_submodule("blocks.1.feedforward")
        block.register_forward_hook(at_bad_step(monkeypatch, lambda output: output * float("nan")))

    poison(monkeypatch, spoil)
    # records at 4, 8 and 12: deferred, the bad step 8 is found at its record, before the checkpoint of step 8
    config = tiny(log_every=4, save_every=4, eval_every=4)
    message = "loss became nan at step 8; first non-finite output in blocks.1.feedforward"
    run = expect_failure(config, console, message)
    assert [path.name for path in run.checkpoints()] == ["step-4"]
    assert run.summary["best_val_loss"] is not None


def test_deferred_bad_step_does_not_change_the_weights_even_when_later_steps_are_fine(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[nn.Module] = []

    def spoil(model: nn.Module) -> None:
        model.get_submodule("blocks.0").register_forward_hook(at_bad_step(monkeypatch, lambda output: output / 0))
        built.append(model)

    poison(monkeypatch, spoil)
    original = NonFiniteGuard.__init__
    monkeypatch.setattr(NonFiniteGuard, "__init__", lambda self, o, d: original(self, o, d, deferred=True))
    config = tiny("bad", log_every=12, save_every=12, eval_every=12, schedule="constant", warmup_steps=0)
    expect_failure(config, console, "loss became nan at step 8; first non-finite output in blocks.0")
    monkeypatch.undo()
    good = gatewright.train(
        tiny("good", max_steps=BAD_STEP, schedule="constant", warmup_steps=0), console=console
    ).model("last")
    for name, weight in good.state_dict().items():
        assert weight.equal(built[0].state_dict()[name]), name


def test_infinite_gradient_of_a_finite_loss_is_found(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch, guard: bool
) -> None:
    class Burst(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient * float("inf")

    def spoil(model: nn.Module) -> None:
        model.get_submodule("blocks.0").register_forward_hook(at_bad_step(monkeypatch, Burst.apply))

    poison(monkeypatch, spoil)
    config = tiny(log_every=4, save_every=4)
    message = (
        r"gradient norm became (nan|inf) at step 8; the forward pass is finite; first non-finite gradient in blocks.0"
    )
    with pytest.raises(RunError, match=message):
        gatewright.train(config, console=console)
    assert Run(config.out).status == "diverged"


class ScalarReads(TorchDispatchMode):
    """Counts how often a tensor's value is read by the program, which on an accelerator means waiting for it."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_deferred_steps_read_nothing_from_the_device(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch, guard: bool
) -> None:
    reads: list[int] = []
    lists: list[Tensor] = []  # tolist reads a tensor on a CPU without an operator
    step, tolist = Updater.step, Tensor.tolist

    def counted(self: Updater, number: int) -> Any:
        lists.clear()
        with ScalarReads() as counter:
            result = step(self, number)
        reads.append(counter.count + len(lists))
        return result

    monkeypatch.setattr(Updater, "step", counted)
    monkeypatch.setattr(Tensor, "tolist", lambda tensor: lists.append(tensor) or tolist(tensor))
    gatewright.train(tiny(grad_accumulation=2, max_steps=4), console=console)
    assert reads == ([0] * 4 if guard else [1] * 4)


def test_an_absurd_learning_rate_ends_in_one_line_not_in_nan_weights(
    tiny: Callable[..., Config], console: Console, guard: bool
) -> None:
    config = tiny(learning_rate=1e30, warmup_steps=0, grad_clip=0.0, schedule="constant", log_every=1, save_every=1)
    with pytest.raises(RunError) as caught:
        gatewright.train(config, console=console)
    assert "\n" not in str(caught.value)
    assert "at step" in str(caught.value)
    for checkpoint in Run(config.out).checkpoints():
        assert all(torch.isfinite(tensor).all() for tensor in load_file(checkpoint / "model.safetensors").values())
