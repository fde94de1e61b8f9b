"""Finding tasks, wrong requests, overlap of questions, and tasks of one's own."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from gatewright.errors import UserError
from gatewright.rl.rewards import NumericReward
from gatewright.rl.tasks import (
    Question,
    SmallTask,
    check_disjoint,
    columns_of,
    contamination,
    knobs,
    list_tasks,
    make_task,
    register_task,
    task_classes,
)


def question(text: str, name: str = "q", **columns: Any) -> Question:
    return Question(name, text, "1", columns)


@pytest.mark.parametrize(
    ("spec", "settings", "said"),
    [
        ("chain_smu", {}, "unknown task 'chain_smu'; did you mean 'chain_sum'?"),
        ("chain_sum", {"term": 3}, "unknown key 'task 'chain_sum'.term'; did you mean"),
        ({"name": "chain_sum", "terms": "3"}, {}, "task 'chain_sum'.terms='3': expected int"),
        ("chain_sum", {"terms": 9}, "task 'chain_sum'.terms=9: must be 2 to 8"),
        ("chain_sum", {"digits": 1}, "task 'chain_sum'.digits=1"),
        ("chain_sum", {"fault": 1.5}, "task 'chain_sum'.fault=1.5: is a chance"),
        ("product", {"fault": -1}, "task 'product'.fault=-1"),
        ("gcd", {"digits": 9}, "task 'gcd'.digits=9"),
        ("base_conversion", {"bases": [2, 10]}, "task 'base_conversion'.bases=10: must be 2 to 9"),
        ("base_conversion", {"bases": []}, "give at least one"),
        ("countdown", {"attempts": 0}, "task 'countdown'.attempts=0"),
        ({"terms": 3}, {}, "expected a name or a mapping with 'name'"),
    ],
)
def test_mistaken_tasks(spec: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        make_task(spec, **settings)
    assert said in str(error.value)


def test_mistaken_requests() -> None:
    task = make_task({"name": "chain_sum", "terms": 3}, terms=2)
    assert task.prompt_width == 6
    with pytest.raises(UserError, match="'tset'; did you mean 'test'"):
        task.questions("tset", 5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="count=0"):
        task.questions("test", 0)
    with pytest.raises(UserError, match="say how many"):
        task.questions("test")
    with pytest.raises(UserError, match=r"fault=2"):
        task.demonstrate(task.questions("train", 1)[0], Random(0), 2)
    with pytest.raises(UserError, match="no demonstrator"):
        make_task("arc_c").demonstrate(question("x"), Random(0))
    with pytest.raises(UserError, match="ordinary text"):
        make_task("arc_c").tokenizer()


def test_every_task_lists_its_knobs() -> None:
    assert set(knobs(task_classes["chain_sum"])) == {"terms", "digits", "fault", "any_order"}
    assert set(knobs(task_classes["gsm8k"])) == {"path", "subset"}
    assert {"gsm_symbolic", "gsm8k", "math", "mmlu_stem", "arc_c", "trivia_qa"} <= set(list_tasks())


def test_the_check_names_the_question_that_is_in_both() -> None:
    train = [question("What is 2 + 2?", "a"), question("Why?", "b")]
    check_disjoint(train, [question("What is 2 + 3?", "c")])
    check_disjoint([], train)
    with pytest.raises(UserError, match=r"test question 'd' is training question 'a' too: 'what  IS 2 \+ 2"):
        check_disjoint(train, [question("Who?", "c"), question("what  IS 2 + 2?", "d")])
    same = question("Prompt one: why?", "e", question="why?")  # put otherwise
    with pytest.raises(UserError, match="'e' is training question 'b'"):
        check_disjoint(train, [same])


def test_contamination_counts_shared_sequences() -> None:
    train = [question("one two three four five six", "t")]
    test = [
        question("one two three four", "inside"),  # both sequences of 3
        question("zero one two three nine", "third"),  # 1 of 3
        question("nothing in common here", "clean"),
        question("five six", "short"),  # shorter than 3, and not a whole question of train
    ]
    found = contamination(train, test, words=3)
    assert found.overlaps == {"inside": 1.0}
    assert found.share == 0.25
    lenient = contamination(train, test, words=3, threshold=0.3)
    assert lenient.overlaps == {"inside": 1.0, "third": pytest.approx(1 / 3)}
    assert contamination(train, train, words=20).share == 1.0
    with pytest.raises(UserError, match="nothing to look for"):
        contamination(train, [])
    with pytest.raises(UserError, match="words=0"):
        contamination(train, test, words=0)


def test_columns_of_questions_that_differ_are_refused() -> None:
    assert columns_of([question("x", "a", n=1), question("y", "b", n=2)]) == {
        "n": [1, 2],
        "id": ["a", "b"],
        "answer": ["1", "1"],
    }
    assert columns_of([]) == {}
    with pytest.raises(UserError, match="'b' has other columns than 'a'"):
        columns_of([question("x", "a", n=1), question("y", "b")])


def test_a_task_of_ones_own_is_one_class() -> None:
    @register_task("doubling")
    class Doubling(SmallTask):
        alphabet = "0123456789=#$"

        def __init__(self, *, fault: float = 0.5) -> None:
            self.fault = fault

        def draw(self, random: Random) -> Question:
            number = random.randint(0, 999)
            return Question("", f"{number:03d}=", str(2 * number), {"number": number})

        def make_reward(self) -> NumericReward:
            return NumericReward(self.delimiter)

        def trace(self, question: Question, random: Random, fault: float) -> str:
            factor = 1 if random.random() < fault else 2
            return f"#{factor * question.columns['number']}$"

    try:
        task = make_task("doubling", fault=0.0)
        train, test = task.questions("train", 200), task.questions("test", 50)
        check_disjoint(train, test)
        completions = [task.demonstrate(question, Random(0)) for question in test]
        assert task.reward(prompts=[""] * 50, completions=completions, **columns_of(test)) == [1.0] * 50
        with pytest.raises(UserError, match="task 'doubling' is registered twice"):
            register_task("doubling")(task_classes["gcd"])
    finally:
        del task_classes["doubling"]


def test_gsm_symbolic() -> None:
    gym = pytest.importorskip("reasoning_gym")
    task = make_task("gsm_symbolic")
    train, test = task.questions("train", 200, seed=0), task.questions("test", 100, seed=0)
    neighbour = task.questions("train", 200, seed=1)
    check_disjoint(train, test)
    assert make_task("gsm_symbolic").questions("train", 50) == train[:50]
    assert len({q.text for q in train} & {q.text for q in neighbour}) < 5  # the package's neighbours: nearly all
    completions = [task.demonstrate(q, Random(0)) for q in train]
    columns = columns_of(train)
    assert task.reward(prompts=[""] * 200, completions=completions, **columns) == [1.0] * 200
    scorer = gym.create_dataset("gsm_symbolic", seed=0, size=1)
    for q in train:
        own = {"answer": q.answer}
        assert scorer.score_answer(q.answer, own) == 1.0
        wrong = str(float(q.answer) + 1)
        assert scorer.score_answer(wrong, own) not in (0.0, 1.0)  # partial credit, which is not passed on
        assert task.reward(prompts=[""], completions=[f"#### {wrong}"], answer=[q.answer]) == [0.0]
