"""What a reasoner can do on held-out questions: alone, by many tries, by a vote, and with paths that listen."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from gatewright.config import Config
from gatewright.config.rl import RLConfig
from gatewright.data import Tokenizer
from gatewright.errors import RunError, UserError
from gatewright.evaluate.target import RunTarget, Target
from gatewright.paths.policies import policy_of
from gatewright.reading import complaint
from gatewright.rl.accuracy import Answers, answer
from gatewright.rl.asking import Draws
from gatewright.rl.format import Format
from gatewright.rl.learning.evaluation import frozen
from gatewright.rl.learning.gate import PathGate
from gatewright.rl.measures import majority_vote, pass_at_k, wilson_interval
from gatewright.rl.tasks import Question, check_disjoint, contamination, make_task
from gatewright.training.checkpoint import COMPANION

TRAIN = 16_384
"""Training questions that are looked through for the ones asked."""


@dataclass(frozen=True)
class Share:
    """Right answers among ``count``, with Wilson's interval of 95 %."""

    right: int
    count: int
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, right: int, count: int) -> Share:
        """The share with its interval."""
        low, high = wilson_interval(right, count)
        share = right / count
        return cls(right, count, share, min(low, share), max(high, share))  # at 0 and 1, of rounding


@dataclass(frozen=True)
class Judgement:
    """What `judge` found. Intervals are over questions; samples of one question are not independent."""

    task: str
    split: str
    questions: int
    samples: int
    contamination: float
    """The share of questions that training questions largely contain (`gatewright.rl.tasks.contamination`)."""
    greedy: Share
    """One greedy path."""
    sampled: float
    """One path drawn at temperature 1: the mean over all samples."""
    pass_at: dict[int, float]
    """At least one of k samples is right."""
    majority: Share
    """The most frequent answer of the samples (self-consistency)."""
    gate: str
    """Whom paths heard for the next two."""
    gated: float
    """One of the paths that listen: the mean over all of them."""
    gated_majority: Share
    """The most frequent answer of the paths that listen."""
    scoring: dict[str, int]
    """Completions that were scored, and those that counted 0 because the scorer raised or timed out."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Reasoner:
    """A model that answers questions of a task, and the gate its paths listen through."""

    model: nn.Module
    form: Format
    gate: PathGate
    options: RLConfig


def open_reasoner(
    target: Target,
    *,
    task: Any = None,
    rl: RLConfig | None = None,
    chat: bool | None = None,
    device: torch.device | None = None,
) -> Reasoner:
    """The model of ``target``, on its own task or on ``task``, with its own gate or the one that ``rl`` describes.

    A model that has no gate gets M3PO's: cosine similarity, λ = T = 0.1. ``chat`` says whether questions are put in the
    chat format of the tokenizer; left out, they are as they were in the run, and plain for other models. Raises
    `UserError` for a target without a task where none is named.
    """
    config = target.run.config if isinstance(target, RunTarget) else None
    spec = _spec(task, config)
    if spec is None:
        raise UserError(f"{target.name} was not trained on a task: name one with --task")
    options = rl or (config.rl if config is not None else None) or RLConfig(similarity="cosine", temperature=0.1)
    if chat is not None:
        options = dataclasses.replace(options, chat=chat)
    tokenizer: Tokenizer = target.tokenizer
    form = Format(make_task(spec), tokenizer, chat=options.chat, max_new_tokens=options.max_new_tokens)
    model = target.load(target.precision).to(device)
    policy = policy_of(model)
    gate = PathGate(options, width=policy.width, vocab_size=policy.vocab_size, device=policy.device)
    if rl is None and isinstance(target, RunTarget):
        load_gate(gate, target.checkpoint)
    return Reasoner(model, form, gate, options)


def load_gate(gate: PathGate, checkpoint: Path) -> None:
    """Give ``gate`` what it had learned by ``checkpoint``, where it had anything to learn or to keep."""
    if (checkpoint / COMPANION).is_file() and not gate.silent:
        try:
            safetensors.torch.load_model(gate, checkpoint / COMPANION)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise RunError(f"cannot load {checkpoint / COMPANION}: {complaint(error)}") from error


def held_out(form: Format, split: Literal["validation", "test"], count: int) -> tuple[list[Question], float]:
    """Questions that no run has learned from, and their contamination. `UserError` if one is a training question."""
    asked, train = form.task.at_most(split, count), form.task.at_most("train", TRAIN)
    check_disjoint(train, asked)
    return asked, contamination(train, asked).share


def judge(
    reasoner: Reasoner, *, split: Literal["validation", "test"] = "test", questions: int = 500, samples: int = 8
) -> Judgement:
    """Ask ``questions`` held-out questions in every way. Raises `UserError` for less than two samples."""
    if samples < 2:
        raise UserError(f"--samples {samples}: a vote and listening need at least 2")
    form, options = reasoner.form, reasoner.options
    asked, contaminated = held_out(form, split, questions)
    draws = Draws(options.sampling_temperature, options.sampling_top_p)
    greedy = answer(reasoner.model, form, asked)
    drawn = answer(reasoner.model, form, asked, paths=samples, draws=draws)
    listening = frozen(reasoner.gate)
    gated = answer(reasoner.model, form, asked, paths=samples, draws=draws, listening=listening)
    right = drawn.right.sum(-1).numpy()
    return Judgement(
        task=form.task.name,
        split=split,
        questions=len(asked),
        samples=samples,
        contamination=contaminated,
        greedy=Share.of(int(greedy.right.sum()), len(asked)),
        sampled=drawn.accuracy,
        pass_at={k: float(pass_at_k(right, samples, k).mean()) for k in _powers_of_two(samples)},
        majority=_majority(form, drawn),
        gate=describe_gate(reasoner),
        gated=gated.accuracy,
        gated_majority=_majority(form, gated),
        scoring={name: greedy.counts[name] + drawn.counts[name] + gated.counts[name] for name in greedy.counts},
    )


def describe_gate(reasoner: Reasoner) -> str:
    """The gate in a few words."""
    gate, options = reasoner.gate, reasoner.options
    if gate.silent:
        return "none"
    name = options.similarity if isinstance(options.similarity, str) else options.similarity["name"]
    temperature = f", T = {gate.similarity.temperature.item():g}" if gate.similarity.tempered else ""
    weight = f"λ = {gate.weight:g}" if isinstance(gate.weight, float) else "adaptive λ"
    return f"{name}, {weight}{temperature}, blending {options.blend}"


def _majority(form: Format, answers: Answers) -> Share:
    extract = form.task.reward.extract
    chosen = majority_vote([[extract(text) for text in row] for row in answers.completions])
    right = sum(bool(answers.right[q, place]) for q, place in enumerate(chosen) if place >= 0)
    return Share.of(right, len(chosen))


def _powers_of_two(largest: int) -> list[int]:
    powers = [2**exponent for exponent in range(largest.bit_length()) if 2**exponent <= largest]
    return powers if powers[-1] == largest else [*powers, largest]


def _spec(task: Any, config: Config | None) -> Any:
    """The task that is asked for, with the run's knobs where it is the run's own."""
    own = config.task if config is not None else None
    if task is None or (isinstance(own, dict) and own["name"] == task):
        return own
    return task
