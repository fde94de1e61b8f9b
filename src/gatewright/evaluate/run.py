"""Evaluating a finished run anew, for ``gatewright eval RUN``."""

from __future__ import annotations

from typing import Literal

from gatewright.data import prepare
from gatewright.evaluate.held_out import held_out
from gatewright.evaluate.language_modeling import Evaluation, score
from gatewright.evaluate.target import RunTarget
from gatewright.hardware.device import resolve_device
from gatewright.run import Run
from gatewright.training.precision import Precision, resolve_precision
from gatewright.training.resume import check_same_content


def evaluate_run(
    run: Run,
    *,
    which: Literal["best", "last"] = "best",
    tokens: int | None = None,
    block_size: int | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str | None = None,
) -> Evaluation:
    """Score a checkpoint of ``run`` on its validation text.

    ``tokens``: how many validation tokens; ``block_size``: tokens of a window; ``batch_size``: windows at once. What is
    left out is as in training, and so is then the loss. Raises `UserError` without a usable checkpoint, or if the text
    is no longer the one of the run.
    """
    config, target = run.config, RunTarget(run, which)
    rows, length = batch_size or config.train.batch_size, target.check_block_size(block_size) or target.context
    where = resolve_device(device)
    arithmetic = Precision(resolve_precision(precision or target.precision, where), where)
    folder = target.checkpoint  # refused before the text is prepared
    data = prepare(config.data)
    check_same_content(data.describe(), run.environment.get("data"), run.path)
    model = run.load(folder).to(where)
    text = held_out(data, length, rows, tokens or config.train.eval_tokens)
    separator = data.tokenizer.eot_id if config.data.document_masking else None
    return text.evaluation(score(model, text.batches, arithmetic.autocast, separator))
