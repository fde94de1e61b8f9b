"""What is recorded of the gradients is what they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from rich.console import Console
from torch import Tensor

import gatewright
from gatewright.config import Config
from gatewright.training.loop import Trainer


@pytest.mark.parametrize("clip", [0.0, 0.5, 100.0], ids=["not clipped", "clipped", "within the limit"])
def test_mean_and_deviation_are_those_of_the_clipped_gradients(
    clip: float, tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    evaluate = Trainer.evaluate

    def look(trainer: Trainer) -> None:  # the gradients of a step stay until the next one
        gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        seen.append(torch.cat([gradient.double().flatten() for gradient in gradients]))
        evaluate(trainer)

    monkeypatch.setattr(Trainer, "evaluate", look)
    run = gatewright.train(tiny(max_steps=3, log_every=1, eval_every=1, grad_clip=clip), console=console)
    records = run.train_records()
    assert len(records) == len(seen) == 3
    for record, gradient in zip(records, seen, strict=True):
        assert (record["grad_norm"] > clip) == (clip < 100)
        # the mean is near zero: what rounding leaves of it is measured against the deviation
        error = 1e-6 * record["grad_std"]
        assert record["grad_mean"] == pytest.approx(gradient.mean().item(), rel=1e-5, abs=error)
        assert record["grad_std"] == pytest.approx(gradient.std(correction=0).item(), rel=1e-5)
