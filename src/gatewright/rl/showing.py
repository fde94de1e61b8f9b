"""The paths of a few questions, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gatewright.paths.picture import listening_table
from gatewright.rl.asking import Asked, Draws, ask
from gatewright.rl.judging import Reasoner, describe_gate, held_out
from gatewright.rl.learning.evaluation import describe_paths, frozen
from gatewright.rl.tasks import Question


@dataclass(frozen=True)
class Shown:
    """One question's paths."""

    title: str
    record: dict[str, Any]
    """As in a run's ``listening.json``; the reward is None where nobody knows the answer."""
    picture: str
    """Who heard whom, as text; empty if nobody did."""


def show(
    reasoner: Reasoner,
    *,
    prompts: Sequence[str] | None,
    questions: int,
    split: Literal["validation", "test"],
    paths: int,
    seed: int,
) -> list[Shown]:
    """Let paths answer ``prompts``, or ``questions`` held-out questions if there are none."""
    form, options = reasoner.form, reasoner.options
    if prompts:
        asked = [Question(f"prompt-{i}", prompt, "") for i, prompt in enumerate(prompts)]
    else:
        asked, _ = held_out(form, split, questions)
    draws = Draws(options.sampling_temperature, options.sampling_top_p, seed)
    shown = []
    for number, question in enumerate(asked):
        found = ask(
            reasoner.model,
            form,
            [question],
            paths=paths,
            draws=draws,
            listening=frozen(reasoner.gate),
            question_ids=[number],
            rewarded=not prompts,
        )
        shown.append(_shown(reasoner, found, question, known=not prompts))
    return shown


def _shown(reasoner: Reasoner, found: Asked, question: Question, known: bool) -> Shown:
    record = describe_paths(found, reasoner.form, question)
    if not known:
        record["question"]["answer"] = None
        for path in record["paths"]:
            path["reward"] = None
    title = f"{question.prompt}   (answer {question.answer})" if known else question.prompt
    picture = listening_table(found.rollout, reasoner.form.tokenizer) if len(found.rollout.steps) else ""
    return Shown(f"{title}   gate: {describe_gate(reasoner)}", record, picture)
