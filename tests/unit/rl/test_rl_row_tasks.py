"""Tasks on data sets, from small local files in the formats of the real ones."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gatewright.errors import UserError
from gatewright.rl.tasks import Question, Task, check_disjoint, columns_of, make_task

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def write(folder: Path, split: str, rows: list[dict[str, Any]], kind: str = "jsonl") -> str:
    folder.mkdir(exist_ok=True)
    file = folder / f"{split}.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def scores(task: Task, questions: list[Question], completions: list[str]) -> list[float]:
    return task.reward(prompts=[q.prompt for q in questions], completions=completions, **columns_of(questions))


def gsm_row(n: int) -> dict[str, str]:
    return {
        "question": f"Ann has {n} thousand apples. How many are that?",
        "answer": f"{n} * 1000 = <<{n}*1000={n * 1000}>>{n * 1000}\n#### {n * 1000:,}",
    }


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_gsm8k(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "gsm", "train", [gsm_row(n) for n in range(200)], kind)
    path = write(tmp_path / "gsm", "test", [gsm_row(n) for n in range(195, 215)], kind)
    task = make_task("gsm8k", path=path)
    train, validation, test = (task.questions(split) for split in ("train", "validation", "test"))
    assert len(test) == 20
    assert len(train) + len(validation) == 195  # what is in test is not in train
    assert 8 <= len(validation) <= 35
    check_disjoint(train, test)
    check_disjoint(train, validation)
    assert task.questions("test", 7, seed=2) == make_task("gsm8k", path=path).questions("test", 7, seed=2)
    assert task.questions("test", 7, seed=2) != task.questions("test", 7, seed=3)
    assert task.questions("test", 7, seed=2) == task.questions("test", 9, seed=2)[:7]
    traces = [task.demonstrate(question, Random(0)) for question in train]
    assert scores(task, train, traces) == [1.0] * len(train)
    assert not any("<<" in trace for trace in traces)
    plain = [f"#### {question.answer.replace(',', '')} apples." for question in train]
    assert scores(task, train, plain) == [1.0] * len(train)
    assert scores(task, train[:1], ["#### 12.5"]) == [0.0]
    assert "####" in train[0].prompt
    with pytest.raises(UserError, match="count=21: task 'gsm8k' has 20 questions in 'test'"):
        task.questions("test", 21)


def test_math(tmp_path: Path) -> None:
    pytest.importorskip("math_verify")
    solutions = [r"So $x = \boxed{\frac{1}{\sqrt{2}}}$.", r"First \boxed{3}, then $\boxed{x^{2}+1}$", "none, but"]
    rows: list[dict[str, Any]] = [
        {"problem": f"Problem {i}", "level": "Level 1", "type": "Algebra", "solution": solution}
        for i, solution in enumerate(solutions)
    ]
    rows[2]["answer"] = r"\text{even}"
    path = write(tmp_path / "math", "test", [{"answer": None, **row} for row in rows])
    task = make_task("math", path=path)
    test = sorted(task.questions("test"), key=lambda question: question.prompt)
    assert [question.answer for question in test] == [r"\frac{1}{\sqrt{2}}", "x^{2}+1", r"\text{even}"]
    assert scores(task, test, [task.demonstrate(question, Random(0)) for question in test]) == [1.0] * 3
    assert scores(task, test, [r"#### $\frac{\sqrt{2}}{2}$", "#### 1+x^2", "#### odd"]) == [1.0, 1.0, 0.0]
    with pytest.raises(UserError, match="has no rows for 'train'"):
        task.questions("train")
    path = write(tmp_path / "unboxed", "test", [{"problem": "?", "solution": "no box"}])
    with pytest.raises(UserError, match="row 0: 'solution' cannot be used: 'no box'"):
        make_task("math", path=path).questions("test")


def test_mmlu_stem(tmp_path: Path) -> None:
    rows = [
        {"question": f"Which {i}?", "subject": subject, "choices": ["w", "x", "y", "z"], "answer": i % 4}
        for i, subject in enumerate(["astronomy", "philosophy", "machine_learning", "anatomy", "college_physics"])
    ]
    path = write(tmp_path / "mmlu", "test", rows, "parquet")
    write(tmp_path / "mmlu", "validation", rows[:1], "parquet")
    task = make_task("mmlu_stem", path=path)
    test = sorted(task.questions("test"), key=lambda question: question.prompt)
    assert [question.answer for question in test] == ["A", "C", "A"]
    assert test[1].prompt.startswith("Which 2?\nA) w\nB) x\nC) y\nD) z\n\n")
    assert scores(task, test, ["#### A", "thus #### (C)", "#### B"]) == [1.0, 1.0, 0.0]
    with pytest.raises(UserError, match="no rows for 'validation'"):  # the only one is in test
        task.questions("validation")


def test_arc_c(tmp_path: Path) -> None:
    rows = [
        {
            "id": "M1",
            "question": "Up?",
            "choices": {"text": ["a", "b", "c"], "label": ["A", "B", "C"]},
            "answerKey": "B",
        },
        {
            "id": "M2",
            "question": "Up?",
            "choices": {"text": ["d", "e", "f"], "label": ["1", "2", "3"]},
            "answerKey": "3",
        },
    ]
    task = make_task("arc_c", path=write(tmp_path / "arc", "test", rows))
    test = sorted(task.questions("test"), key=lambda question: question.id)
    assert [(question.id, question.answer) for question in test] == [("M1", "B"), ("M2", "C")]
    assert scores(task, test, ["#### B", "#### 3"]) == [1.0, 0.0]
    bad = write(tmp_path / "bad", "test", [{**rows[0], "answerKey": "E"}])
    with pytest.raises(UserError, match="'answerKey' cannot be used: 'E'"):
        make_task("arc_c", path=bad).questions("test")


def test_trivia_qa(tmp_path: Path) -> None:
    row = {
        "question_id": "tc_1",
        "question": "Who sang Yesterday?",
        "answer": {"value": "The Beatles", "aliases": ["Beatles", "Fab Four"], "type": "WikipediaEntity"},
    }
    task = make_task("trivia_qa", path=write(tmp_path / "trivia", "validation", [row]))
    test = task.questions("test")
    assert test[0].id == "tc_1"
    assert scores(task, test * 3, ["#### the fab-four", "#### Beatles!", "#### Stones"]) == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"questions": "x", "answer": "#### 1"}, "row 0: no 'question'; did you mean 'questions'"),
        ({"question": "x", "answer": "one"}, "'answer' cannot be used: 'one'"),
        ({"question": "x", "answer": "#### one"}, "'answer' cannot be used"),
        ({"question": "x", "answer": 1}, "'answer' cannot be used: '1'"),
    ],
)
def test_rows_in_another_format_are_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "gsm", "test", [row])
    with pytest.raises(UserError) as error:
        make_task("gsm8k", path=path).questions("test")
    assert said in str(error.value)
    assert "split 'test'" in str(error.value)


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k", "test", [gsm_row(1)])
    with pytest.raises(UserError, match=r"path=.*gsm8: no such folder; did you mean 'gsm8k'"):
        make_task("gsm8k", path=str(tmp_path / "gsm8")).questions("test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"task 'gsm8k': cannot open .*empty"):
        make_task("gsm8k", path=str(tmp_path / "empty")).questions("test")
