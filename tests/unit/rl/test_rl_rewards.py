"""Rewards, called the way TRL calls them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from misbehaving import Misbehaving, Unloadable

from gatewright.errors import RunError, UserError
from gatewright.rl.rewards import (
    ChoiceReward,
    ExpressionReward,
    FormReward,
    MathReward,
    NumericReward,
    Reward,
    TextReward,
    WeightedReward,
    counting,
    totals,
)


def call(reward: Any, completions: list[Any], **columns: Any) -> list[float]:
    """As in TRL's GRPOTrainer: by keyword, with more columns than a reward asks for."""
    count = len(completions)
    return reward(
        prompts=["?"] * count,
        completions=completions,
        completion_ids=[[1, 2]] * count,
        trainer_state=object(),
        **{name: [value] * count if not isinstance(value, list) else value for name, value in columns.items()},
    )


def test_trl_names_and_calls_a_reward() -> None:
    reward = NumericReward("####")
    assert reward.__name__ == "NumericReward"
    scores = call(reward, ["#### 1", "#### 2"], answer=["1", "1"], other=["x", "y"])
    assert scores == [1.0, 0.0]
    assert all(type(score) is float for score in scores)


def test_a_conversation_counts_by_its_last_message() -> None:
    messages = [{"role": "assistant", "content": "#### 2"}, {"role": "assistant", "content": "#### 1"}]
    assert call(NumericReward("####"), [messages], answer=["1"]) == [1.0]


def test_columns_are_checked() -> None:
    with pytest.raises(UserError, match="needs the column 'answer'; did you mean 'answers'"):
        call(NumericReward("####"), ["#### 1"], answers=["1"])
    with pytest.raises(UserError, match="column 'answer' has 1 values for 2 completions"):
        call(NumericReward("####"), ["#### 1", "#### 1"], answer=["1"])
    with pytest.raises(UserError, match="delimiter"):
        NumericReward("")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" b ", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B.", "B"),
        ("B) A dog", "B"),
        ("B: because of A", "B"),
        ("The answer is (C).", "C"),
        ("The answer is A", "A"),
        ("A is right", "A"),
        ("A dog, so D", "D"),
        ("It's D", "D"),
        ("A or B", None),
        ("A dog", None),
        ("", None),
        ("none", None),
        ("BAD", None),
    ],
)
def test_letters(text: str, letter: str | None) -> None:
    assert ChoiceReward("####").read(text) == letter


def test_choices_score() -> None:
    assert call(ChoiceReward("#"), ["x # B", "x # C", "# B # B", "B"], answer="B") == [1.0, 0.0, 0.0, 0.0]


def test_words_are_compared_without_what_does_not_matter() -> None:
    completions = ["# The Beatles!", "#\n beatles\nmore", "# Fab_Four", "# Beatle", "# the", "#", "# The Beatles # x"]
    scores = call(TextReward("#"), completions, answer="Beatles", aliases=[["the fab four"]] * 7)
    assert scores == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert call(TextReward("#"), ["# the"], answer="The") == [0.0]  # nothing is left of either


@pytest.mark.parametrize(
    ("expression", "score"),
    [
        ("(7-3)*12", 1),
        ("12*(07-03)", 1),
        ("(7−3)×12 = 48$", 1),
        ("12*7-12*3", 0),
        ("48", 0),
        ("7*12-36", 0),
        ("(7-3)*12=47", 1),
        ("(7-3)*12*1", 0),
        ("12*(7-3)/(3-3)", 0),
        ("12*(7-3", 0),
        ("12**(7-3)", 0),
        ("12//(7-3)", 0),
        ("-(3-7)*12", 0),
        ("__import__('os')", 0),
        ("(" * 90 + "1", 0),
        ("1+" * 5000 + "1", 0),
        ("", 0),
    ],
)
def test_expressions(expression: str, score: float) -> None:
    reward = ExpressionReward("#")
    assert call(reward, [f"try #{expression}"], numbers=[[3, 7, 12]], target=[48]) == [score]
    assert reward.counts.raised == 0


def test_expressions_divide_exactly() -> None:
    numbers, target = [[1, 3, 6], [8, 3, 8, 3]], [2, 24]
    assert call(ExpressionReward("#"), ["#(1/3)*6", "#8/(3-8/3)"], numbers=numbers, target=target) == [1.0, 1.0]


def test_mathematics() -> None:
    pytest.importorskip("math_verify")
    cases = [
        (r"#### \frac12", r"\frac{1}{2}", 1),
        ("#### $0.5$", r"\frac{1}{2}", 1),
        (r"#### so it is \boxed{\frac{1}{2}}", r"\frac{1}{2}", 1),
        ("#### the answer is 5 apples", "5", 1),
        ("#### 1+x", "x+1", 1),
        ("#### 1+x", "1", 0),
        ("#### 1 1/2", "11/2", 0),
        ("#### (1, 2)", "(1,2)", 1),
        ("#### even", r"\text{even}", 1),
        ("#### 1/3", r"\frac{1}{2}", 0),
        ("#### 5 #### 5", "5", 0),
        ("5", "5", 0),
    ]
    reward = MathReward("####")
    assert call(reward, [case[0] for case in cases], answer=[case[1] for case in cases]) == [case[2] for case in cases]
    assert totals(reward) == {"scored": 12, "raised": 0, "timed_out": 0}


def test_mathematics_that_never_ends_scores_0_and_the_rest_is_scored() -> None:
    pytest.importorskip("math_verify")
    reward = MathReward("####", time_limit=3.0)
    scores = call(reward, ["#### 2", "#### 9^{9^{9^{9}}}", "#### 3"], answer=["2", "9^{9^{9^{8}}}", "3"])
    assert scores == [1.0, 0.0, 1.0]
    assert totals(reward) == {"scored": 3, "raised": 0, "timed_out": 1}


def test_a_scorer_that_raises_scores_0_and_is_counted() -> None:
    reward = Misbehaving()
    with counting(reward) as counted:
        assert call(reward, ["fine", "raise", "nan", "fine"]) == [1.0, 0.0, 0.0, 1.0]
    assert counted() == {"scored": 4, "raised": 2, "timed_out": 0}
    assert reward.counts.first_error == "KeyError: 'missing'"
    with counting(reward) as counted:
        call(reward, ["fine"])
    assert counted() == {"scored": 1, "raised": 0, "timed_out": 0}


def test_a_scorer_that_hangs_or_dies_scores_0_also_off_the_main_thread() -> None:
    reward = Misbehaving(time_limit=1.0)
    scores: list[float] = []
    completions = ["fine", "sleep", "print", "regex", "exit", "raise", "fine"]
    thread = threading.Thread(target=lambda: scores.extend(call(reward, completions)))
    thread.start()
    thread.join(60)
    assert scores == [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    assert totals(reward) == {"scored": 7, "raised": 2, "timed_out": 2}
    assert reward.counts.first_error == "the scorer ended its process"


def test_a_scorer_that_cannot_start_is_an_error() -> None:
    with pytest.raises(RunError, match="does not start: OSError: no model here"):
        call(Unloadable(), ["fine"])


def test_a_scorer_of_the_program_itself_is_refused_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Here(Misbehaving):
        pass

    monkeypatch.setattr(Here, "__module__", "__main__")
    with pytest.raises(UserError, match="put it into a file of its own"):
        call(Here(time_limit=1.0), ["fine"])


def test_rewards_add_up_with_their_weights() -> None:
    def length(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        return [float(len(completion)) for completion in completions]

    numeric = NumericReward("#")
    reward = WeightedReward([numeric, FormReward("#"), length], [1.0, 0.5, -0.01])
    assert call(reward, ["a#1", "#1", "1"], answer="1") == pytest.approx([1.47, 0.98, -0.01])
    assert reward.__name__ == "1*NumericReward+0.5*FormReward+-0.01*length"
    assert totals(reward) == {"scored": 6, "raised": 0, "timed_out": 0}
    with pytest.raises(UserError, match="2 for 1"):
        WeightedReward([numeric], [1.0, 2.0])
    with pytest.raises(UserError, match="at least one"):
        WeightedReward([])

    def short(**_: Any) -> list[float]:
        return []

    with pytest.raises(RunError, match="'short' returned 0 scores for 1"):
        call(WeightedReward([short]), ["x"])


def test_a_reward_is_told_apart_from_its_copy() -> None:
    class Fixed(Reward):
        def score(self, completion: str) -> float:
            return 0.25

    first, second = Fixed(), Fixed()
    call(first, ["x"])
    assert (first.counts.scored, second.counts.scored) == (1, 0)
