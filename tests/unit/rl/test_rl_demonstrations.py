"""Rows to learn from, questions by seed and step, and completions as they are read."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch

from gatewright.config import Config, ParallelConfig
from gatewright.data import IGNORED
from gatewright.errors import UserError
from gatewright.rl.format import Format
from gatewright.rl.questions import Questions, QuestionSampler
from gatewright.rl.supervised.demonstrations import DemonstrationSampler, demonstration_rows, held_out_rows
from gatewright.rl.supervised.work import DemonstrationWork
from gatewright.rl.tasks import Task, make_task

TASK = make_task("countdown")
FORM = Format(TASK, TASK.tokenizer())


def test_the_completion_is_learned_and_the_prompt_is_read() -> None:
    questions = TASK.questions("train", 6)
    input_ids, labels = demonstration_rows(FORM, questions, [Random(i) for i in range(6)], None)
    for row, question in enumerate(questions):
        completion = TASK.demonstrate(question, Random(row))
        scored = labels[row] != IGNORED
        assert FORM.tokenizer.decode(labels[row][scored].tolist()) == completion
        first = int(scored.nonzero()[0])
        read = input_ids[row, : first + 1].tolist()
        assert FORM.tokenizer.decode(read) == question.prompt
        whole = [*read, *labels[row][scored].tolist()]
        assert input_ids[row, : len(whole) - 1].tolist() == whole[:-1]
        assert scored.sum() == len(completion)


def test_a_model_without_room_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"task 'countdown': a demonstration has \d+ tokens, the model has 20 positions"
    ):
        demonstration_rows(FORM, TASK.questions("train", 1), [Random(0)], 20)


def test_rows_are_a_function_of_seed_and_step() -> None:
    questions = TASK.questions("train", 10)

    def rows(step: int, start: int = 0, stop: int = 4, seed: int = 0) -> Any:
        return DemonstrationSampler(FORM, questions, 4, seed, None).rows(step, start, stop)

    assert torch.equal(rows(3)[0], rows(3)[0])
    assert rows(3)[0].shape != rows(3, seed=1)[0].shape or not torch.equal(rows(3)[0], rows(3, seed=1)[0])
    ids, labels = rows(3)
    part_ids, part_labels = rows(3, 2, 4)
    assert torch.equal(part_labels[labels[2:, : part_labels.shape[1]] != part_labels], torch.tensor([]).long())
    assert torch.equal(ids[2:, : part_ids.shape[1]], part_ids)


def test_each_pass_asks_every_question_once_in_another_order() -> None:
    questions = TASK.questions("train", 12)
    sampler = QuestionSampler(questions, 4, seed=5)
    drawn = [sampler.rows(step, 0, 4) for step in range(6)]
    places = [place for batch in drawn for place, _ in batch]
    assert places == list(range(24))
    first, second = ([question.id for batch in part for _, question in batch] for part in (drawn[:3], drawn[3:]))
    assert sorted(first) == sorted(second) == sorted(question.id for question in questions)
    assert first != second
    assert sampler.rows(1, 1, 3) == drawn[1][1:3]


def test_held_out_questions_do_not_depend_on_the_seed_and_are_as_many_as_there_are() -> None:
    task = make_task("product")
    found = Questions(task, train=100, held_out=100_000)
    assert 100 < len(found.held_out) < 1000
    described = found.describe(Format(task, task.tokenizer()))
    assert described["validation"]["questions"] == len(found.held_out)
    assert len(described["content_sha256"]) == 64
    rows = held_out_rows(FORM, TASK.questions("validation", 5), 2, None)
    assert [len(ids) for ids, _ in rows] == [2, 2, 1]


def test_a_completion_is_read_up_to_its_end() -> None:
    class Fake:
        def texts(self, tokenizer: Any) -> list[list[str]]:
            return [["1#2$3", "1#2", "$"]]

    assert FORM.texts(Fake()) == [["1#2$", "1#2", "$"]]  # type: ignore[arg-type]
    assert FORM.end_ids == sorted({FORM.tokenizer.eot_id, *FORM.tokenizer.encode("$")})


@pytest.mark.parametrize("task", ["chain_sum", "product", "gcd", "base_conversion", "countdown"])
def test_the_limit_holds_every_demonstration(task: str) -> None:
    made: Task = make_task(task)
    form = Format(made, made.tokenizer())
    longest = max(
        len(form.demonstration(made.demonstrate(q, Random(i)))) for i, q in enumerate(made.questions("train", 300))
    )
    assert longest <= form.max_new_tokens == made.max_trace_length
    with pytest.raises(UserError, match=f"task '{task}' needs"):
        Format(made, made.tokenizer(), max_new_tokens=form.max_new_tokens - 1)


def test_shared_out_weights_are_refused_before_any_work() -> None:
    config = Config(task={"name": "countdown"}, parallel=ParallelConfig(mode="fsdp2"))
    with pytest.raises(UserError, match=r"parallel\.mode=fsdp2: .* choose ddp or zero1"):
        DemonstrationWork(config)
