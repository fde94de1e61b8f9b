"""How a policy is judged while it learns: greedily, by samples, and with paths that listen; and a picture of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from gatewright.config.rl import RLConfig
from gatewright.files import write_atomic
from gatewright.paths.picture import who_heard_whom
from gatewright.paths.text import text_of
from gatewright.rl.accuracy import answer
from gatewright.rl.asking import Asked, Draws, ask
from gatewright.rl.format import Format
from gatewright.rl.learning.gate import PathGate
from gatewright.rl.tasks import Question
from gatewright.training.precision import Precision
from gatewright.training.work import Outcome

LISTENING = "listening.json"
"""The file of a run directory with the paths of one held-out question, as of the last evaluation."""


def evaluate(
    model: nn.Module,
    gate: PathGate,
    form: Format,
    questions: list[Question],
    options: RLConfig,
    precision: Precision,
) -> Outcome:
    """Accuracy on the held-out questions, judged by that of a single greedy path."""
    draws = Draws(options.sampling_temperature, options.sampling_top_p)
    common: dict[str, Any] = {"autocast": precision.autocast}
    greedy = answer(model, form, questions, **common)
    sampled = answer(model, form, questions, paths=options.eval_samples, draws=draws, **common)
    numbers: dict[str, float | None] = {
        "val_accuracy": greedy.accuracy,
        "val_accuracy_sampled": sampled.accuracy,
        "val_completion_length": sampled.lengths.double().mean().item(),
    }
    if options.eval_gated:
        listening = answer(model, form, questions, paths=options.paths, draws=draws, listening=frozen(gate), **common)
        numbers["val_accuracy_gated"] = listening.accuracy
    return Outcome(numbers, judged_by="val_accuracy", better="higher")


def frozen(gate: PathGate) -> Any:
    """How paths listen through ``gate``, without leaving a trace in it: the moments of an adaptive λ stay."""
    import copy
    from dataclasses import replace

    listening = gate.listening
    return replace(listening, blend_weight=copy.deepcopy(listening.blend_weight), keep_signals=False)


def write_listening(
    folder: Path, step: int, model: nn.Module, gate: PathGate, form: Format, question: Question, options: RLConfig,
    precision: Precision,
) -> None:  # fmt: skip
    """Write down the N paths of one question: their tokens, and who heard whom at each step."""
    asked = ask(
        model,
        form,
        [question],
        paths=options.paths,
        draws=Draws(options.sampling_temperature, options.sampling_top_p),
        listening=frozen(gate),
        autocast=precision.autocast(),
    )
    record = {"step": step, **describe_paths(asked, form, question)}
    write_atomic(folder / LISTENING, json.dumps(record, ensure_ascii=False))


def describe_paths(asked: Asked, form: Format, question: Question) -> dict[str, Any]:
    """One question's paths for a picture: texts and tokens, rewards, and what each path heard after each token."""
    rollout, text = asked.rollout, text_of(form.tokenizer)
    tokens, lengths = rollout.tokens[0].tolist(), rollout.lengths[0].tolist()
    return {
        "question": {"id": question.id, "prompt": question.prompt, "answer": question.answer},
        "paths": [
            {"tokens": [text.decode([token]) for token in path[:length]], "text": written, "reward": reward}
            for path, length, written, reward in zip(
                tokens, lengths, asked.completions[0], asked.rewards[0].tolist(), strict=True
            )
        ],
        "heard": [
            {
                "step": one.step,
                "path": one.path,
                "blend_weight": one.blend_weight,
                "peers": {str(peer): weight for peer, weight in one.heard.items()},
            }
            for one in who_heard_whom(rollout)
        ],
    }
