"""Fitting a study into a time: what is cut, in which order, how it is said, and that the result is a study."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from synthetic_study import plain_config

from gatewright.errors import UserError
from gatewright.study.budget import FLOOR, SHARE, Fitted, fit, parse_duration, shortened
from gatewright.study.noise import Noise
from gatewright.study.plan import Arm, Study
from gatewright.study.timing import Timing, estimate, evaluations
from gatewright.study.trials import Plan, make_plan

TIMINGS = {"base": Timing(20.0, 0.1, 5.0), "slow": Timing(30.0, 0.2, 5.0)}
"""95 s and 155 s a run as planned below: 2,000 s in all with one worker."""


def planned(seeds: int = 8, workers_arms: tuple[str, ...] = ("base", "slow"), **train: int) -> Plan:
    """A plan of two arms, 500 steps and 5 evaluations a run."""
    config = plain_config(**{"max_steps": 500, "eval_every": 100, "log_every": 20, **train})
    study = Study("fits", "base", {arm: Arm() for arm in workers_arms}, list(range(seeds)))
    return Plan(study, {arm: dataclasses.replace(config) for arm in workers_arms})


def size(fitted: Fitted) -> tuple[int, int]:
    """Seeds and steps."""
    return len(fitted.study.seeds), fitted.plan.configs["base"].train.max_steps


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60m", 3600), ("2h", 7200), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("2 Hours", 7200), (" 1d ", 86_400),
     ("1:30:00", 5400), ("60M", 3600)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "60", "1.5", "soon", "-5m", "0s", "60ms", "nan", "h", "1h30", "1mo", "99999999h"])
def test_what_is_no_duration_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^budget=.*: expected a time such as 60m, 2h, 90s or 1h30m") as caught:
        parse_duration(text)
    assert "\n" not in str(caught.value)


def test_a_plan_that_fits_is_left_alone() -> None:
    plan = planned()
    fitted = fit(plan, 2_000, TIMINGS, 1)
    assert fitted.plan is plan
    assert fitted.seconds == pytest.approx(2_000)
    assert fitted.sentence.startswith("the plan fits as it is: about 33 min of 33 min; ")


def test_steps_are_cut_first_then_seeds_then_steps_again() -> None:
    plan = planned()
    chosen = [size(fit(plan, budget, TIMINGS, 1)) for budget in range(2_100, 385, -10)]
    assert chosen[0] == (8, 500)
    seeds, steps = zip(*chosen, strict=True)
    assert set(seeds) == {8, 7, 6, 5, 4, 3}
    assert list(seeds) == sorted(seeds, reverse=True)
    for number, group in itertools.groupby(chosen, lambda pair: pair[0]):
        lengths = [length for _, length in group]
        assert lengths == sorted(lengths, reverse=True)
        assert min(lengths) >= (50 if number == 3 else FLOOR * 500)
    assert min(steps) < 100  # the last resort was used
    assert min(length for number, length in chosen if number == 8) <= FLOOR * 500 + 25  # and the first one whole


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("budget", [1_700, 900, 500, 420])
def test_what_is_chosen_fits_and_a_little_more_would_not(budget: float, workers: int) -> None:
    plan = planned()
    fitted = fit(plan, budget, TIMINGS, workers)
    assert fitted.seconds == pytest.approx(estimate(fitted.plan, TIMINGS, workers))
    if fitted.plan is plan:
        assert fitted.seconds <= budget
        return
    assert fitted.seconds <= SHARE * budget
    seeds, steps = size(fitted)
    if steps < 500:
        assert estimate(shortened(plan, steps + 5, seeds), TIMINGS, workers) > SHARE * budget


def test_a_budget_that_nothing_fits_names_the_smallest_that_does() -> None:
    plan = planned()
    with pytest.raises(
        UserError, match=r"2 min is too short.*\(3 of 8 seeds and 50 of 500 steps\).* --budget (\d+)m"
    ) as e:
        fit(plan, 120, TIMINGS, 1)
    minutes = int(str(e.value).rpartition(" ")[2].removesuffix("m"))
    assert size(fit(plan, 60 * minutes, TIMINGS, 1))[0] == 3
    with pytest.raises(UserError):
        fit(plan, 60 * (minutes - 1), TIMINGS, 1)


def test_a_study_of_two_seeds_keeps_both() -> None:
    assert size(fit(planned(2), 300, TIMINGS, 1))[0] == 2


def test_a_sequential_study_keeps_a_seed_beyond_its_first_look() -> None:
    plan = planned()
    plan = Plan(dataclasses.replace(plan.study, sequential=True), plan.configs)
    fitted = fit(plan, 600, TIMINGS, 1, sequential=True)
    assert len(fitted.study.seeds) == 4
    assert size(fitted)[1] < FLOOR * 500


def test_sentences_say_what_was_chosen_why_and_what_it_can_show() -> None:
    plan, known = planned(), Noise(0.003, "as stated in the study file")
    steps = fit(plan, 1_500, TIMINGS, 1, known).sentence
    assert steps.startswith("all 8 seeds and ")
    assert " of 500 steps, to take about 2" in steps
    assert "steps are cut before seeds" in steps
    assert steps.endswith(
        "8 seeds can show differences from 0.35 % with 80 % power (paired noise 0.30 %, as stated in the study file)"
    )
    seeds = fit(plan, 900, TIMINGS, 1, known).sentence
    assert " of 8 seeds and " in seeds
    assert "more seeds would not fit with even 40 % of the steps" in seeds
    short = fit(plan, 420, TIMINGS, 1, known).sentence
    assert short.startswith("3 of 8 seeds and ")
    assert "may rank the arms otherwise" in short
    assert "3 seeds can show differences from 0.98 %" in short
    looked = fit(plan, 1_500, TIMINGS, 1, known, sequential=True).sentence
    assert "at most 8 seeds" in looked
    assert "not known" in fit(plan, 1_500, TIMINGS, 1).sentence


def test_cadences_keep_their_sense() -> None:
    plan = planned()
    cut = shortened(plan, 200, 8).configs["base"]
    assert (cut.train.eval_every, cut.train.log_every, cut.train.save_every) == (40, 10, 500)
    assert evaluations(cut) == 5
    assert shortened(plan, 200, 3).study.seeds == [0, 1, 2]
    often = shortened(planned(eval_every=10, log_every=2), 200, 8).configs["base"].train
    assert (often.eval_every, often.log_every) == (10, 2)  # there are enough without
    rare = shortened(planned(eval_every=500, log_every=500), 200, 8).configs["base"]
    assert evaluations(rare) == 1
    assert rare.train.log_every == 200
    tiny = shortened(planned(max_steps=3, eval_every=1, log_every=1), 1, 8).configs["base"].train
    assert (tiny.max_steps, tiny.eval_every, tiny.log_every) == (1, 1, 1)
    assert shortened(planned(warmup_steps=50), 200, 8).configs["base"].train.warmup_steps == 20
    assert cut.train.warmup_steps is None
    assert plan.configs["base"].train.max_steps == 500  # the plan itself is not touched


BASE = ["model=small", "model.n_layer=1", "train.max_steps=500", "train.eval_every=100", "train.warmup_steps=40"]


def test_the_fitted_study_is_one_whose_own_plan_is_the_fitted_plan() -> None:
    arms = {"base": Arm(), "slow": Arm(["model.n_layer=2", "train.eval_every=250"])}
    plan = make_plan(Study("fits", "base", arms, [5, 3, 4, 8], base=BASE, learning_rates=[1e-3, 2e-3]))
    fitted = fit(plan, 600, TIMINGS, 2)
    seeds, steps = size(fitted)
    assert seeds < 4 or steps < 500
    assert make_plan(fitted.study).configs == fitted.plan.configs
    assert fitted.study.seeds == [5, 3, 4, 8][:seeds]
    assert fitted.study.base.count(f"train.max_steps={steps}") == 1
    assert "train.max_steps=500" not in fitted.study.base
    assert fitted.plan.configs["slow"].train.eval_every == 250  # the arm's own
    assert len(fitted.plan.trials) == 2 * 2 + 2 * seeds  # rates are still chosen


def test_an_arm_that_sets_its_own_steps_leaves_only_seeds_to_choose() -> None:
    arms = {"base": Arm(), "slow": Arm(["train.max_steps=700"])}
    plan = make_plan(Study("fits", "base", arms, list(range(6)), base=BASE))
    fitted = fit(plan, 1_400, TIMINGS, 1)
    assert {arm: c.train.max_steps for arm, c in fitted.plan.configs.items()} == {"base": 500, "slow": 700}
    assert len(fitted.study.seeds) == 4
    assert fitted.study.base == BASE
    assert "an arm sets its own train.max_steps" in fitted.sentence
    with pytest.raises(UserError, match="3 of 6 seeds and all 500 steps"):
        fit(plan, 300, TIMINGS, 1)
