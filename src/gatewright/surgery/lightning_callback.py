"""α in Lightning's ``Trainer``; needs the extra ``lightning``, whose import takes seconds."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gatewright.errors import UserError
from gatewright.surgery.alpha import alphas, set_step


class AlphaCallback(Callback):
    """Steps scheduled α's with the trainer's optimizer steps, and logs every block's α.

    α is at its start in the first update and at its end after the last one, also when training resumes from a
    checkpoint. The last update is that of ``max_steps``, or what ``max_epochs`` comes to. It is logged as
    ``alpha/<path>``, with ``alpha/mean`` over the blocks. The patched model may be any part of the `LightningModule`.
    Raises `UserError` if there is no α in it, and where neither limit is given.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the first update, or the first one after resuming."""
        self._last_step = trainer.estimated_stepping_batches
        if math.isinf(self._last_step):
            raise UserError("the schedule of α needs to know the last step: give the Trainer max_steps or max_epochs")
        self._set_step(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After each batch: the steps done are the number of the next one."""
        self._set_step(trainer, pl_module)
        present = {path: value for path, value in alphas(pl_module).items() if not math.isnan(value)}
        if present:
            found = {f"alpha/{path}": value for path, value in present.items()}
            pl_module.log_dict({**found, "alpha/mean": math.fsum(present.values()) / len(present)})

    def _set_step(self, trainer: Trainer, pl_module: LightningModule) -> None:
        set_step(pl_module, trainer.global_step, int(self._last_step))
