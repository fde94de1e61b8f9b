"""α in Lightning's trainer: stepped, logged, and gone on with after a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from surgery_models import gpt2, ids
from torch import Tensor
from torch.utils.data import DataLoader

import gatewright as gw
from gatewright.errors import UserError
from gatewright.surgery import alphas

lightning = pytest.importorskip("lightning.pytorch", reason="needs the extra lightning")

from gatewright.surgery.lightning_callback import AlphaCallback  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*your dataloader is not resumable"),
    pytest.mark.filterwarnings("ignore:.*in eval mode at the start"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
]


class Tuned(lightning.LightningModule):
    """A patched model, one part of a module, that notes which α each batch sees."""

    def __init__(self, alpha: Any) -> None:
        super().__init__()
        self.language_model = gpt2()
        if alpha is not None:
            gw.patch(self.language_model, alpha=alpha)
        self.seen: list[float] = []
        self.logged: list[dict[str, float]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append(next(iter(alphas(self).values()), math.nan))
        loss: Tensor = self.language_model(input_ids=batch, labels=batch).loss
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Note(lightning.Callback):
    """What is logged after each batch, seen by a callback that comes later."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        pl_module.logged.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def fit(folder: Path, module: Tuned, checkpoint: Path | None = None, **limits: Any) -> Tuned:
    save = lightning.callbacks.ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(
        accelerator="cpu", default_root_dir=folder, callbacks=[AlphaCallback(), Note(), save], **quiet, **limits
    )
    trainer.fit(module, DataLoader(ids(8, 6), batch_size=2), ckpt_path=checkpoint)
    return module


def test_alpha_is_stepped_logged_and_gone_on_with(tmp_path: Path) -> None:
    module = Tuned(["scheduler_linear", 0.5])
    gw.set_step(module, 3, 4)  # whatever it was before
    first = fit(tmp_path, module, max_steps=4)
    path = "language_model.transformer.h.0.mlp"
    assert first.seen == [0, 0.25, 0.5, 0.75]  # each update's own α
    assert [logged[f"alpha/{path}"] for logged in first.logged] == [0.25, 0.5, 0.75, 1]
    assert [logged["alpha/mean"] for logged in first.logged] == [0.375, 0.5, 0.625, 0.75]
    assert list(alphas(first).values()) == [1, 0.5]

    resumed = fit(tmp_path, Tuned(["scheduler_linear", 0.5]), tmp_path / "step=2.ckpt", max_steps=4)
    assert resumed.seen == [0.5, 0.75]
    assert [logged["alpha/mean"] for logged in resumed.logged] == [0.625, 0.75]
    assert list(alphas(resumed).values()) == [1, 0.5]


def test_updates_are_counted_and_not_batches(tmp_path: Path) -> None:
    module = fit(tmp_path, Tuned("scheduler_linear"), max_epochs=2, accumulate_grad_batches=2)
    assert module.seen == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]  # 4 batches an epoch, 2 to an update


def test_what_cannot_be_scheduled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this Tuned has no α: it is not patched"):
        fit(tmp_path, Tuned(None), max_steps=2)
    with pytest.raises(UserError, match="give the Trainer max_steps or max_epochs"):
        fit(tmp_path, Tuned("scheduler_linear"), max_epochs=-1, max_steps=-1)
