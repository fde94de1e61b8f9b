"""One micro-batch of eight rows and eight of one row are the same step, also with unequal target counts."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

import gatewright
from gatewright.config import Config, ModelConfig, TrainConfig
from gatewright.model.build import build
from gatewright.training.optimizer import Optimizers
from gatewright.training.parallel import Parallel
from gatewright.training.precision import Precision
from gatewright.training.text import TextUpdater
from gatewright.training.work import Equipment

CPU = torch.device("cpu")


class RaggedSampler:
    """Eight rows of random tokens; row r has r targets, so one row has none at all."""

    batch_size = 8

    def rows(self, step: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(step)
        tokens = torch.randint(0, 50, (8, 17), generator=generator)
        input_ids, labels = tokens[:, :-1].clone(), tokens[:, 1:].clone()
        for row in range(8):
            labels[row, row:] = -100
        return input_ids[start:stop], labels[start:stop]


def updater(batch_size: int, grad_accumulation: int) -> TextUpdater:
    config = Config(
        model=ModelConfig(n_layer=2, n_head=2, n_embd=32, block_size=16, vocab_size=50),
        train=TrainConfig(batch_size=batch_size, grad_accumulation=grad_accumulation, learning_rate=1e-2),
    )
    model = build(config.model, seed=3).double()
    optimizers = Optimizers(model, config.train, CPU)
    work: Any = SimpleNamespace(sampler=RaggedSampler())
    return TextUpdater(
        work, Equipment(model, model, None, optimizers, Precision("float32", CPU), Parallel(CPU), config)
    )


def gradients(of: TextUpdater) -> dict[str, Tensor]:
    loss = of.backward(0, of.model).loss
    found = {name: parameter.grad for name, parameter in of.model.named_parameters() if parameter.grad is not None}
    return {"loss": loss, **found}


@pytest.mark.parametrize(("batch_size", "grad_accumulation"), [(1, 8), (2, 4), (4, 2)])
def test_gradients_do_not_depend_on_how_the_batch_is_split(batch_size: int, grad_accumulation: int) -> None:
    """Weights are float64, the cross-entropy float32: what is left is its rounding."""
    whole, split = gradients(updater(8, 1)), gradients(updater(batch_size, grad_accumulation))
    for name in whole:
        torch.testing.assert_close(split[name], whole[name], rtol=1e-5, atol=1e-8, msg=name)


def test_the_mean_of_means_would_be_something_else() -> None:
    """What a loop without this care computes is far outside of the tolerance above."""
    of = updater(1, 8)
    whole = gradients(updater(8, 1))
    for input_ids, labels in zip(*(part[1:].split(1) for part in of.work.sampler.rows(0, 0, 8)), strict=True):
        (of.model(input_ids, targets=labels).loss / 7).backward()
    naive = of.model.get_parameter("embedding.weight").grad
    assert naive is not None
    assert (naive - whole["embedding.weight"]).norm() > 0.05 * whole["embedding.weight"].norm()


def test_loss_is_the_mean_over_all_targets_of_the_step() -> None:
    of = updater(1, 8)
    input_ids, labels = of.work.sampler.rows(0, 0, 8)
    with torch.no_grad():
        logits = of.model(input_ids).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    torch.testing.assert_close(gradients(of)["loss"], expected, rtol=1e-6, atol=0, check_dtype=False)


def test_updates_stay_together_over_many_steps() -> None:
    whole, split = updater(8, 1), updater(1, 8)
    for step in range(10):
        ours, theirs = split.step(step), whole.step(step)
        torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-6, atol=0)
        torch.testing.assert_close(ours.grad_norm, theirs.grad_norm, rtol=1e-5, atol=0)


def test_runs_agree_in_float32(tiny: Callable[..., Config], console: Console) -> None:
    whole = gatewright.train(tiny("whole", batch_size=8, max_steps=8), console=console)
    split = gatewright.train(tiny("split", batch_size=1, grad_accumulation=8, max_steps=8), console=console)
    losses = [[record["loss"] for record in run.train_records()] for run in (split, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-6)
    assert split.summary["tokens"] == whole.summary["tokens"] == 8 * 8 * 32
