"""Tasks of lm-eval (EleutherAI's lm-evaluation-harness) on our runs and on models of Hugging Face; extra ``eval``.

Requests, batching, metrics and standard errors are lm-eval's own. What is done here is to open the model for it, and to
find mistakes before any weights are read.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gatewright.data.extras import import_extra
from gatewright.errors import UserError
from gatewright.evaluate.harness import listening, load_tasks, no_code_from_the_hub
from gatewright.evaluate.target import Target
from gatewright.hardware.device import resolve_device
from gatewright.training.precision import AUTOCAST, resolve_precision

GENERATED = 256
"""Tokens that lm-eval generates where a task does not say how many."""


@dataclass(frozen=True)
class Score:
    """One number of one task, or of a group of tasks."""

    task: str
    version: str
    shots: int | None
    """Worked examples in front of each question."""
    documents: int
    """How many were scored."""
    metric: str
    filter: str
    value: float
    stderr: float | None
    """Standard error of ``value``; None where lm-eval knows none."""
    higher_is_better: bool | None


@dataclass(frozen=True)
class TaskEvaluation:
    """The scores of a model on tasks."""

    scores: tuple[Score, ...]
    warnings: Mapping[str, int]
    """What lm-eval warned of while it ran, numbers written as N, and how often: such as texts that had to be cut."""
    precision: str
    limit: int | None
    lm_eval: str
    """The version that ran."""

    def as_dict(self) -> dict[str, Any]:
        """All of it, as numbers and words."""
        return asdict(self)


def evaluate_tasks(
    target: Target,
    names: Sequence[str],
    *,
    task_path: Path | None = None,
    limit: int | None = None,
    num_fewshot: int | None = None,
    block_size: int | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str | None = None,
) -> TaskEvaluation:
    """Ask ``target`` the tasks, groups, tags or task files (YAML) called ``names``.

    - ``task_path``: a folder of task files, looked at first.
    - ``limit``: only so many documents of each task; ``num_fewshot``: worked examples, where a task allows them.
    - ``block_size``: the longest sequence in tokens (default: the model's context); ``batch_size``: requests at once
      (default 1); ``precision``: as in `evaluate_text`.

    Raises `UserError`, before any weights are read, without lm-eval, for an unknown task, one that cannot be loaded or
    one that such a model cannot do.
    """
    lm_eval = import_extra("lm_eval", "eval", "--tasks")
    where = resolve_device(device)
    arithmetic = resolve_precision(precision or target.precision, where)
    length = target.check_block_size(block_size) or target.context
    with contextlib.redirect_stdout(sys.stderr):  # lm-eval and tasks may print
        tasks = load_tasks(names, task_path)
        for name, task in tasks.leaves.items():
            _check_can_be_done(name, task, length)
        harness = import_extra("lm_eval.models.huggingface", "eval", "--tasks")
        evaluator = import_extra("lm_eval.evaluator", "eval", "--tasks")
        model, tokenizer = target.load_for_transformers(arithmetic)
        model.config.use_cache = False  # where nothing is generated; lm-eval asks for the cache where it is
        with listening("lm_eval"):
            lm = harness.HFLM(
                model.to(where),
                tokenizer=tokenizer,
                batch_size=batch_size or 1,
                max_length=length,
                mixed_precision_dtype=AUTOCAST.get(arithmetic),
                softmax_dtype="float32",
                trust_remote_code=False,
            )
        with listening("lm_eval.models") as heard, no_code_from_the_hub():
            results = evaluator.simple_evaluate(
                lm, tasks=tasks.asked, limit=limit, num_fewshot=num_fewshot, log_samples=False
            )
    return TaskEvaluation(tuple(_scores(results)), dict(heard), arithmetic, limit, lm_eval.__version__)


def _check_can_be_done(name: str, task: Any, context: int | None) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        raise UserError(f"task {name} executes what the model writes; it is not run here")
    if getattr(task, "MULTIMODAL", False):
        raise UserError(f"task {name} needs more than text")
    if task.OUTPUT_TYPE == "generate_until" and context is not None:
        normalize = import_extra("lm_eval.models.utils", "eval", "--tasks").normalize_gen_kwargs
        wanted = normalize(task.config.generation_kwargs or {}, GENERATED)["max_gen_toks"]
        if wanted >= context:
            raise UserError(
                f"task {name} generates {wanted} tokens, which leaves no room for its question in a context of "
                f"{context}; its file sets generation_kwargs.max_gen_toks"
            )


def _scores(results: Mapping[str, Any]) -> Iterator[Score]:
    """lm-eval's table, row by row: ``acc,none`` is a metric and a filter, ``acc_stderr,none`` its standard error."""
    for task, found in {**results["results"], **results.get("groups", {})}.items():
        for key, value in found.items():
            metric, comma, answer_filter = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            stderr = found.get(f"{metric}_stderr,{answer_filter}")
            yield Score(
                task=task,
                version=str(results["versions"].get(task, "")),
                shots=results["n-shot"].get(task),
                documents=int(found["sample_len"]),
                metric=metric,
                filter=answer_filter,
                value=float(value),
                stderr=None if isinstance(stderr, str) or stderr is None else float(stderr),
                higher_is_better=results["higher_is_better"].get(task, {}).get(metric),
            )
