"""Studies of tasks: the questions they are judged on, and the controls that a claim about listening needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from gatewright.study.checks.remark import Remark, usable_runs
from gatewright.study.gather import ArmResult
from gatewright.study.kind import Designs, is_rewarded, similarity_of
from gatewright.study.plan import Study
from gatewright.study.wording import join


def questions(study: Study, arms: Mapping[str, ArmResult]) -> Iterator[Remark]:
    """How many questions stand behind every accuracy, and how far it hangs on the choice of them."""
    scored = {
        run.environment["validation"].get("questions") for run in usable_runs(arms) if run.environment.get("validation")
    }
    if len(scored) > 1:
        yield Remark("warning", "evaluation_set", f"Runs were judged on unequal questions: {join(_counts(scored))}.")
    count = next(iter(scored), None)
    if len(scored) != 1 or not count:
        return
    text = f"Every run is judged on the same {count:,} held-out questions. Intervals cover the seeds"
    means = [arm.mean for arm in arms.values() if arm.mean is not None]
    if study.judged_by.name.startswith("val_accuracy") and all(0 <= mean <= 1 for mean in means):
        error = max(math.sqrt(mean * (1 - mean) / count) for mean in means)
        text += (
            f"; other questions of this kind and number would move an accuracy by a standard error of "
            f"{100 * error:.1f} points at most, and differences between arms that answer the same ones mostly by less"
        )
    yield Remark("note", "evaluation", f"{text}.")


def controls(designs: Designs) -> Iterator[Remark]:
    """Arms that are missing and without which a gain may be something else's."""
    if not is_rewarded(designs):
        return
    if not any(design.get("rl.shuffle_rewards") for design in designs.values()):
        yield Remark(
            "note", "no_shuffled_rewards",
            "No arm learns from shuffled rewards (rl.shuffle_rewards=true). Without that control, a gain over the "
            "start may be that of any further training and not the rewards'.",
        )  # fmt: skip
    if all(similarity_of(design) not in (None, "none") for design in designs.values()):
        yield Remark(
            "warning", "no_silent_arm",
            "Paths listen in every arm. Without one in which they do not (rl.similarity=none), the study cannot say "
            "whether listening helps at all.",
        )  # fmt: skip


def _counts(numbers: set[int | None]) -> list[str]:
    return [f"{number:,}" for number in sorted(number or 0 for number in numbers)]
