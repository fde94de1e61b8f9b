"""Arms that differ in more than the named thing: in size, in data, in how they are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gatewright.study.checks.remark import Remark
from gatewright.study.gather import ArmResult
from gatewright.study.kind import is_rewarded
from gatewright.study.plan import Study
from gatewright.study.trials import differences
from gatewright.study.wording import percent

PARAMETERS_TOLERANCE = 0.01
FLOPS_TOLERANCE = 0.02

CACHE = "data.cache_dir"
BATCH = "train.batch_size × train.grad_accumulation"

CONDITIONS = {
    "init": "the weights they start from",
    "train.max_steps": "the number of steps",
    BATCH: "the effective batch",
    "model.block_size": "the sequence length",
    "train.precision": "precision",
    "train.compile": "compilation",
    "train.eval_tokens": "the evaluation set",
    "parallel.mode": "the parallel mode",
}
"""Settings that equal conditions demand to be equal, besides everything under ``data``."""

RL_CONDITIONS = {
    "init": "the model they start from",
    "task": "the task",
    "rl.paths": "the paths of a question",
    "rl.max_new_tokens": "the longest completion",
    "rl.train_questions": "the questions to learn from",
    "rl.updates_per_rollout": "the updates on the same paths",
    "rl.eval_questions": "the evaluation set",
    "rl.eval_samples": "the samples of an evaluation",
}
"""Those that reinforcement learning adds."""


def size(study: Study, arms: Mapping[str, ArmResult]) -> Iterator[Remark]:
    """Parameters and FLOPs that are not those of the arm compared with."""
    for key, label, tolerance in (
        ("parameters", "parameters", PARAMETERS_TOLERANCE),
        ("flops_per_token", "training FLOPs per token", FLOPS_TOLERANCE),
    ):
        for name, against in study.family:
            own, reference = arms[name].recorded(key), arms[against].recorded(key)
            if own and reference and abs(own / reference - 1) > tolerance:
                more = "more" if own > reference else "fewer"
                yield Remark(
                    "warning", key,
                    f"{name} has {percent(100 * abs(own / reference - 1), sign=False)} {more} {label} than "
                    f"{against}; a difference may be the size's and not the design's.",
                )  # fmt: skip


def conditions(study: Study, designs: Mapping[str, Mapping[str, Any]]) -> Iterator[Remark]:
    """Unequal data, batch, steps or precision; and what else differs in training, as a note."""
    for name, against in study.family:
        changed = differences(_with_batch(designs[against]), _with_batch(designs[name]))
        named = CONDITIONS | (RL_CONDITIONS if is_rewarded(designs) else {})
        unequal = [c for c in changed if _condition(c[0]) in named or (c[0].startswith("data.") and c[0] != CACHE)]
        for key, was, now in unequal:
            what = named.get(_condition(key), f"the data ({key})")
            yield Remark(
                "warning", "conditions",
                f"{name} and {against} differ in {what}: {key} is {now} against {was}. "
                "Conditions are not equal.",
            )  # fmt: skip
        tuned = [
            f"{key} {now} against {was}"
            for key, was, now in changed
            if key.startswith("train.") and (key, was, now) not in unequal
        ]
        if tuned:
            yield Remark("note", "training", f"{name} is trained differently from {against}: {'; '.join(tuned)}.")


def _condition(key: str) -> str:
    """The setting that a key of a design is, or is a knob of."""
    return "task" if key.startswith("task.") else key


def _with_batch(design: Mapping[str, Any]) -> dict[str, Any]:
    """The design with what makes its batches: sequences a step, however they are split into micro-batches."""
    return {**design, BATCH: design["train.batch_size"] * design["train.grad_accumulation"]}
