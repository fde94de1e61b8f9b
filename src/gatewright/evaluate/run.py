"""Evaluating a finished run anew, for ``gatewright eval RUN``."""

from __future__ import annotations

from typing import Literal

from gatewright.data import evaluation_batches, prepare, text_units
from gatewright.evaluate.language_modeling import Evaluation, evaluate
from gatewright.hardware.device import resolve_device
from gatewright.run import Run
from gatewright.training.precision import Precision, resolve_precision
from gatewright.training.resume import check_same_content


def evaluate_run(
    run: Run,
    *,
    which: Literal["best", "last"] = "best",
    tokens: int | None = None,
    device: str = "auto",
    precision: str | None = None,
) -> Evaluation:
    """Score a checkpoint of ``run`` on its validation text.

    ``tokens``: how many validation tokens (default: those of training, ``train.eval_tokens``); ``precision``: default
    that of training. Raises `UserError` without a usable checkpoint, or if the text is no longer the one of the run.
    """
    config = run.config
    folder = run.checkpoint(which)
    where = resolve_device(device)
    arithmetic = Precision(resolve_precision(precision or config.train.precision, where), where)
    data = prepare(config.data)
    check_same_content(data.describe(), run.environment.get("data"), run.path)
    model = run.load(folder).to(where)
    rows, length = config.train.batch_size, config.model.block_size
    batches = evaluation_batches(data.validation, length, rows, tokens or config.train.eval_tokens)
    return evaluate(model, batches, units=text_units(data, batches), autocast=arithmetic.autocast)
