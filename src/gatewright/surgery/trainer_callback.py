"""α in Hugging Face's ``Trainer``; needs the extra ``hf``."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback

from gatewright.surgery.alpha import alphas, set_step


class AlphaCallback(TrainerCallback):
    """Steps scheduled α's with the trainer's optimizer steps, and puts every block's α into what it logs.

    α is at its start in the first update and at its end after the last one, also when training resumes from a
    checkpoint. It is logged as ``alpha/<path>``, with ``alpha/mean`` over the blocks: in ``trainer.state.log_history``,
    and for the callbacks that come after this one.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Before the first update, or the first one after resuming."""
        set_step(model, state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """After each update: the steps done are the number of the next one."""
        set_step(model, state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, model: Any = None, **kwargs: Any) -> None:
        """Beside loss and learning rate."""
        present = {path: value for path, value in alphas(model).items() if not math.isnan(value)}
        if present and logs is not None:
            found = {f"alpha/{path}": value for path, value in present.items()}
            found["alpha/mean"] = math.fsum(present.values()) / len(present)
            logs.update(found)
            if state.log_history:
                state.log_history[-1].update(found)
