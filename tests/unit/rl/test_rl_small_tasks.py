"""The tasks that are made up here: right answers, demonstrators, splits, alphabets."""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from random import Random
from typing import Any

import pytest

from gatewright.errors import UserError
from gatewright.rl.measures import wilson_interval
from gatewright.rl.tasks import Question, Split, Task, check_disjoint, columns_of, list_tasks, make_task
from gatewright.rl.tasks.base import task_classes
from gatewright.rl.tasks.question import share_of

SMALL = [name for name in list_tasks() if task_classes[name].alphabet is not None]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *[(name, {}) for name in SMALL],
    ("chain_sum", {"terms": 2, "digits": 3}),
    ("chain_sum", {"terms": 8}),
    ("chain_sum", {"terms": 5, "any_order": True}),
    ("product", {"digits": 3}),
    ("gcd", {"digits": 3}),
    ("base_conversion", {"digits": 2, "bases": [9, 4]}),
    ("countdown", {"largest": 99, "attempts": 1}),
]


def scores(task: Task, questions: list[Question], completions: list[str]) -> list[float]:
    prompts = [question.prompt for question in questions]
    return task.reward(prompts=prompts, completions=completions, **columns_of(questions))


def recomputed(name: str, prompt: str) -> int:
    """The answer to a prompt, from the prompt alone."""
    numbers = [int(number) for number in re.findall("[0-9]+", prompt)]
    if name == "chain_sum":
        return eval(re.sub(r"\b0+(?=[0-9])", "", prompt.rstrip("=")))
    if name == "product":
        return math.prod(numbers)
    if name == "gcd":
        return math.gcd(*numbers)
    assert name == "base_conversion"
    value, base = numbers
    digits = [str(value // base**place % base) for place in range(20)]
    return int("".join(reversed(digits)))


def test_the_small_tasks() -> None:
    assert SMALL == ["base_conversion", "chain_sum", "countdown", "gcd", "product"]


@pytest.mark.parametrize(("name", "knobs"), VARIANTS)
def test_answers_and_clean_traces_are_right_and_fit(name: str, knobs: dict[str, Any]) -> None:
    task = make_task(name, **knobs)
    questions = task.questions("train", 300, seed=3)
    random = Random(0)
    traces = [task.demonstrate(question, random, fault=0.0) for question in questions]
    assert scores(task, questions, traces) == [1.0] * 300
    assert task.max_trace_length is not None
    assert task.end is not None
    tokenizer = task.tokenizer()
    for question, trace in zip(questions, traces, strict=True):
        if name == "countdown":
            *numbers, target = (int(number) for number in re.findall("[0-9]+", question.prompt))
            assert {"numbers": numbers, "target": target} == question.columns
            given = re.sub(r"\b0+(?=[0-9])", "", trace.partition("#")[2].rstrip("$"))
            assert eval(given) == target
            assert sorted(int(number) for number in re.findall("[0-9]+", given)) == sorted(numbers)
        else:
            assert int(question.answer) == recomputed(name, question.prompt)
        assert len(question.prompt) == task.prompt_width
        assert len(trace) <= task.max_trace_length
        assert trace.endswith(task.end)
        assert trace.count(task.end) == 1
        text = question.prompt + trace
        assert len(tokenizer.encode(text)) == len(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert scores(task, questions, [trace.rstrip("$") for trace in traces]) == [1.0] * 300


@pytest.mark.parametrize(("name", "knobs"), VARIANTS)
def test_the_trace_limit_is_the_length_of_the_longest_trace(name: str, knobs: dict[str, Any]) -> None:
    task = make_task(name, **knobs)
    longest = 0
    for fault in (0.0, 1.0):
        longest = max(
            longest, *(len(task.demonstrate(q, Random(1), fault)) for q in task.questions("train", 200, seed=1))
        )
    assert task.max_trace_length is not None
    if name == "gcd":  # one pair of all takes the most steps
        pair = [987, 610] if knobs else [89, 55]
        longest = len(task.demonstrate(Question("", "", "", {"pair": pair}), Random(0), 0.0))
    assert longest == task.max_trace_length
    task.check_limit(longest)
    with pytest.raises(UserError, match=f"max_new_tokens={longest - 1}.* needs {longest}"):
        task.check_limit(longest - 1)


def faultless(name: str, question: Question, fault: float) -> float:
    """The chance that a demonstrator with this fault is right, from what the task's page says."""
    if name == "chain_sum":
        first, *terms = question.columns["terms"]
        borrows = 0
        for term in terms:
            borrows += term < 0 and first % 10 < -term % 10
            first += term
        return (1 - fault) ** borrows
    if name == "product":
        a, b = question.columns["factors"]
        carrying = sum((a % 10) * int(digit) > 9 for digit in str(b))
        return (1 - fault) ** carrying
    if name == "base_conversion" and question.answer == question.answer[::-1]:
        return 1.0
    return 1 - fault


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("fault", [None, 0.25, 1.0])
def test_demonstrators_fail_as_often_as_stated(name: str, fault: float | None) -> None:
    task = make_task(name) if fault is None else make_task(name, fault=fault)
    questions = task.questions("train", 1000, seed=7)
    random = Random(5)
    got = scores(task, questions, [task.demonstrate(question, random) for question in questions])
    stated = [faultless(name, question, task.fault) for question in questions]
    certain = [(g, s) for g, s in zip(got, stated, strict=True) if s in (0.0, 1.0)]
    assert all(g == s for g, s in certain)
    low, high = wilson_interval(int(sum(got)), len(got), confidence=0.999)
    assert low <= sum(stated) / len(stated) <= high


def test_a_forgotten_borrow_is_carried_on() -> None:
    task = make_task("chain_sum")
    question = Question("", "47+12-09-31=", "19", {"terms": [47, 12, -9, -31]})
    assert task.demonstrate(question, Random(0), 0.0) == "59,50,19#19$"
    assert task.demonstrate(question, Random(0), 1.0) == "59,50,29#29$"
    borrowing = Question("", "52-09-31=", "12", {"terms": [52, -9, -31]})
    assert task.demonstrate(borrowing, Random(0), 1.0) == "53,22#22$"


def test_terms_in_any_order() -> None:
    """Each order whose running sums stay in range is taken equally often, and every running sum is the one it says."""
    task = make_task("chain_sum", any_order=True)
    question = Question("", "47+12-09-31=", "19", {"terms": [47, 12, -9, -31]})
    assert task.demonstrate(question, Random(3), 0.0).endswith("=19#19$")
    drawn = Counter(task.demonstrate(question, Random(i), 0.0) for i in range(1200))
    assert len(drawn) == 6
    assert min(drawn.values()) > 150
    for trace in drawn:
        total = 47
        for sign, term, written in re.findall(r"([+-])(\d\d)=(\d\d)", trace):
            total += int(f"{sign}{term}")
            assert total == int(written)
    narrow = Question("", "10+85-20=", "75", {"terms": [10, 85, -20]})
    assert {task.demonstrate(narrow, Random(i), 0.0) for i in range(50)} == {"+85=95,-20=75#75$"}
    forgetful = {task.demonstrate(question, Random(i), 1.0) for i in range(100)}
    assert "-09=48,-31=17,+12=29#29$" in forgetful
    with pytest.raises(UserError, match=r"terms=7: must be 2 to 6"):
        make_task("chain_sum", any_order=True, terms=7)


def test_other_faults_by_example() -> None:
    product = Question("", "37*48=", "1776", {"factors": [37, 48]})
    assert make_task("product").demonstrate(product, Random(0), 0.0) == "0296,1480#1776$"
    assert make_task("product").demonstrate(product, Random(0), 1.0) == "0246,1280#1526$"
    pair = Question("", "48,36=", "12", {"pair": [48, 36]})
    assert make_task("gcd").demonstrate(pair, Random(0), 0.0) == "12,00#12$"
    assert make_task("gcd").demonstrate(pair, Random(0), 1.0) == "00#36$"
    number = Question("", "013>2=", "1101", {"number": 13, "base": 2})
    assert make_task("base_conversion").demonstrate(number, Random(0), 0.0) == "006:1,003:0,001:1,000:1#1101$"
    assert make_task("base_conversion").demonstrate(number, Random(0), 1.0) == "006:1,003:0,001:1,000:1#1011$"


def test_countdown_tries_before_it_answers() -> None:
    task = make_task("countdown")
    questions = task.questions("train", 300)
    attempts = [task.demonstrate(question, Random(i), 0.0).count(";") + 1 for i, question in enumerate(questions)]
    assert set(attempts) == {1, 2, 3}
    for question in questions[:100]:
        trace = task.demonstrate(question, Random(0))
        assert all(len(step) == 17 for step in trace.partition("#")[0].split(";"))
        for left, right in re.findall(r"([0-9]+[-+*][0-9]+)=([0-9]+)", trace):
            tree = ast.parse(re.sub(r"\b0+(?=[0-9])", "", left), mode="eval")
            assert eval(compile(tree, "step", "eval")) == int(right)


@pytest.mark.parametrize("name", SMALL)
def test_splits_are_disjoint_for_every_seed_and_questions_repeatable(name: str) -> None:
    task = make_task(name)
    splits: tuple[Split, ...] = ("train", "validation", "test")
    drawn = {split: [q for seed in (0, 1, 2) for q in task.questions(split, 100, seed)] for split in splits}
    check_disjoint(drawn["train"], drawn["test"])
    check_disjoint(drawn["train"], drawn["validation"])
    check_disjoint(drawn["validation"], drawn["test"])
    for split in splits:
        again = make_task(name).questions(split, 60, 1)
        assert again == drawn[split][100:160]
        assert drawn[split][:100] != drawn[split][100:200]
        assert len({question.id for question in drawn[split]}) == 300
    one_test = task.questions("test", 100)
    assert len({question.prompt for question in one_test}) == 100


@pytest.mark.parametrize(("name", "column"), [("product", "factors"), ("countdown", "numbers")])
def test_the_same_question_in_another_order_stays_in_its_split(name: str, column: str) -> None:
    task = make_task(name)
    train = {(*sorted(q.columns[column]), q.columns.get("target")) for q in task.questions("train", 3000)}
    test = {(*sorted(q.columns[column]), q.columns.get("target")) for q in task.questions("test", 200)}
    assert not train & test


def test_there_are_only_so_many_questions() -> None:
    task = make_task("base_conversion", digits=2, bases=[2])
    with pytest.raises(UserError, match=r"count=100: .* about \d+ different questions in 'test'"):
        task.questions("test", 100)
    assert len(task.questions("train", 1000)) == 1000  # repeats are fine in training


def test_the_share_of_the_splits() -> None:
    task = make_task("gcd", digits=3)
    keys = [task.key(question) for question in (task.draw(Random(i)) for i in range(4000))]
    held_out = sum(share_of(key) >= 0.9 for key in keys)
    low, high = wilson_interval(held_out, len(keys), confidence=0.999)
    assert low <= 0.1 <= high
