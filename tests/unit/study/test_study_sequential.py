"""Sequential studies: seeds are trained one by one, and only where a verdict is still open."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bench import Bench

from gatewright.errors import UserError
from gatewright.study.metric import get_metric
from gatewright.study.plan import Arm, Study
from gatewright.study.report import write_report
from gatewright.study.sequential import compare_sequential
from gatewright.study.trial import Trial
from gatewright.study.wording import difference_text, sentence

ARMS = {"base": Arm(), "other": Arm(), "like": Arm(["train.weight_decay=0.2"])}
STUDY = Study("sequential", "base", ARMS, list(range(8)), base=["model=small"], sequential=True)


def seeds_of(bench: Bench, arm: str, study: Study = STUDY) -> list[int]:
    return [seed for seed in study.seeds if bench.folder.run(Trial(arm, seed)).exists()]


def test_a_settled_arm_gets_no_more_seeds_and_an_open_one_gets_all(bench: Bench) -> None:
    analysis, printed = bench.run(STUDY)
    verdicts = {c.arm: c.verdict for c in analysis.comparisons}
    assert verdicts == {"other": "worse", "like": "inconclusive"}  # `other` is 0.05 worse, `like` not at all
    settled = seeds_of(bench, "other")
    assert 3 <= len(settled) < 8
    assert settled == list(range(len(settled)))
    assert seeds_of(bench, "like") == seeds_of(bench, "base") == list(range(8))
    spared = next(r for r in analysis.remarks if r.code == "spared")
    assert spared.level == "note"
    assert spared.text.startswith(f"{8 - len(settled)} runs were not needed")
    assert not any(r.code == "missing" for r in analysis.remarks)
    assert f"other/seed-{len(settled)}" not in printed

    before = bench.results()
    bench.run(STUDY)  # and asking again changes nothing
    assert bench.results() == before
    assert seeds_of(bench, "other") == settled


def test_the_first_look_is_at_three_seeds_of_every_arm(bench: Bench) -> None:
    arms = {"base": Arm(), "other": Arm()}
    _, printed = bench.run(Study("sequential", "base", arms, list(range(8)), base=["model=small"], sequential=True))
    starts = [line.removesuffix(": started") for line in printed.splitlines() if line.endswith(": started")]
    assert set(starts[:6]) == {f"{arm}/seed-{seed}" for arm in ("base", "other") for seed in range(3)}
    ends = [i for i, line in enumerate(printed.splitlines()) if "finished" in line and "seed-3" not in line][:6]
    later = [i for i, line in enumerate(printed.splitlines()) if "seed-3: started" in line]
    assert not later or max(ends) < min(later)


def test_a_failed_run_is_not_waited_for(bench: Bench) -> None:
    bench.behave(like_1="crash")
    analysis, _ = bench.run(STUDY)
    assert analysis.arms["like"].n == 7
    assert seeds_of(bench, "base") == list(range(8))


def test_the_report_says_how_it_was_judged(bench: Bench) -> None:
    bench.run(STUDY)
    page = write_report(bench.folder.path).read_text()
    assert "The study is sequential" in page
    details = json.loads(bench.results())["details"]
    assert all(d["note"].startswith("sequential") for d in details if d["arm"] == "other")
    like = next(c for c in json.loads(bench.results())["comparisons"] if c["arm"] == "like")
    assert like["n"] == 8


def test_a_pool_no_larger_than_the_first_look_is_refused() -> None:
    with pytest.raises(UserError, match="sequential: the first look is at 3 seeds; list more"):
        Study("x", "base", ARMS, [0, 1, 2], sequential=True)


def test_an_interval_that_is_not_symmetric_shows_both_ends() -> None:
    theirs = np.array([3.60, 3.61, 3.62, 3.60, 3.64])
    mine = theirs - [0.090, 0.095, 0.085, 0.092, 0.120]  # the last seed moves the mean away from the earlier looks
    c = compare_sequential(mine, theirs, arm="mine", baseline="theirs")
    low, high = (c.percent(end) for end in c.ci95)
    assert abs((low + high) / 2 - c.percent(c.mean_difference)) > 0.05  # what this test is about
    assert difference_text(c) == f"−{-c.percent(c.mean_difference):.2f} % (−{-low:.2f} % to −{-high:.2f} %)"
    size = f"{-c.percent(c.mean_difference):.2f} % ({-high:.2f} % to {-low:.2f} %)"
    assert f"validation loss {size} lower" in sentence(c, get_metric("val_loss"))
