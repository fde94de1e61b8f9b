"""The noise a plan is made with: where it is taken from, in which order, and what it means for the plan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from synthetic_study import SyntheticStudy

from gatewright.errors import UserError
from gatewright.study import noise as noise_module
from gatewright.study import power, sequential
from gatewright.study.analysis import analyse
from gatewright.study.noise import Noise, detectable_difference, find_noise, read_spreads, sentence
from gatewright.study.statistics import Comparison, compare_paired


def comparison(sd: float, n: int, seed: int = 0) -> Comparison:
    """A comparison of n seeds whose differences have exactly this standard deviation, on a baseline of mean 4."""
    baseline = np.full(n, 4.0)
    if n == 1:
        return compare_paired(baseline + 0.1, baseline)
    d = np.random.default_rng(seed).normal(size=n)
    return compare_paired(baseline + 0.1 + sd * d / d.std(ddof=1), baseline)


def write_results(
    folder: Path, sd: float | None, n: int = 4, metric: str = "val_loss", mean: float | None = 2.0
) -> Path:
    """A results.json with one comparison."""
    folder.mkdir(parents=True)
    content = {
        "comparisons": [{"arm": "x", "baseline": "b", "metric": metric, "n": n}],
        "details": [{"arm": "x", "sd_of_differences": sd}],
        "arms": [{"arm": "b", "mean": mean}, {"arm": "x", "mean": 1.0}],
    }
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def test_own_comparisons_are_pooled_by_their_degrees_of_freedom() -> None:
    found = find_noise("val_loss", own=[comparison(0.04, 3), comparison(0.08, 5), comparison(0.0, 1)])
    assert found is not None
    assert found.relative_sd == pytest.approx(np.sqrt((2 * 0.01**2 + 4 * 0.02**2) / 6))
    assert found.degrees == 6
    assert "own 8 finished pairs" in found.source


def test_the_pooled_estimate_and_its_interval_hold_the_truth() -> None:
    """Two comparisons of four and three seeds, 4,000 times over: the interval covers the truth in 95 %."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(4_000):
        spreads = [(float(rng.normal(0, 0.01, n).std(ddof=1)), n - 1) for n in (4, 3)]
        low, high = noise_module._pooled(spreads, "").interval()  # type: ignore[union-attr]
        inside += low <= 0.01 <= high
    assert inside / 4_000 == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 4_000))


def test_the_order_of_sources(tmp_path: Path) -> None:
    write_results(tmp_path / "earlier", 0.01)
    few, enough = [comparison(0.04, 3)], [comparison(0.04, 4)]
    sources = {
        "own": find_noise("val_loss", own=enough, stated=0.5, beside=tmp_path),
        "stated": find_noise("val_loss", own=few, stated=0.5, beside=tmp_path),
        "beside": find_noise("val_loss", own=few, beside=tmp_path),
        "few": find_noise("val_loss", own=few),
        "nothing": find_noise("val_loss", own=[comparison(1.0, 1)], beside=tmp_path / "none"),
    }
    assert {name: found and found.relative_sd for name, found in sources.items()} == {
        "own": pytest.approx(0.01), "stated": 0.5, "beside": pytest.approx(0.005), "few": pytest.approx(0.01),
        "nothing": None,
    }  # fmt: skip


def test_arms_that_never_differ_are_not_taken_for_silence() -> None:
    values = np.array([1.1, 2.3, 3.7, 4.0])
    same, apart = compare_paired(values, values), compare_paired(values + 0.3, values)
    assert apart.sd != 0  # rounding
    assert find_noise("val_loss", own=[same, apart]) is None
    both = find_noise("val_loss", own=[same, apart, comparison(0.04, 6)])
    assert both is not None
    assert both.relative_sd == pytest.approx(0.01)


def test_studies_beside_are_named_and_pooled_without_those_that_do_not_fit(tmp_path: Path) -> None:
    write_results(tmp_path / "first", 0.02, n=3)
    write_results(tmp_path / "second", 0.04, n=5)
    write_results(tmp_path / "other-metric", 9.0, metric="val_perplexity")
    write_results(tmp_path / "one-seed", None, n=1)
    write_results(tmp_path / "no-baseline", 9.0, mean=None)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "results.json").write_text("[1, 2]")
    own = write_results(tmp_path / "mine", 9.0)
    found = find_noise("val_loss", beside=tmp_path, but=own)
    assert found is not None
    assert found.relative_sd == pytest.approx(np.sqrt((2 * 0.01**2 + 4 * 0.02**2) / 6))
    assert "studies first and second in" in found.source


def test_a_study_that_was_run_is_read_from_its_own_files(study: SyntheticStudy) -> None:
    analysis = analyse(study.folder.path)
    analysis.write()
    spreads = read_spreads(study.folder.path, "val_loss")
    assert spreads == [(pytest.approx(c.sd / c.baseline_mean), 3) for c in analysis.comparisons if c.sd is not None]
    assert len(spreads) == 2
    named = find_noise("val_loss", stated=str(study.folder.path))
    own = find_noise("val_loss", own=analysis.comparisons)
    assert named is not None
    assert own is not None
    assert named.relative_sd == pytest.approx(own.relative_sd)
    assert str(study.folder.path) in named.source


@pytest.mark.parametrize(("stated", "words"), [(0.0, "noise=0.0"), (3, "0.003 is 0.3 %"), (-0.1, "between 0 and 1")])
def test_a_stated_number_must_be_a_share(stated: float, words: str) -> None:
    with pytest.raises(UserError, match=words):
        find_noise("val_loss", stated=stated)


def test_a_named_folder_must_hold_results_of_the_metric(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*results.json: No such file"):
        find_noise("val_loss", stated=tmp_path)
    write_results(tmp_path / "a", 0.1, metric="val_perplexity")
    with pytest.raises(UserError, match="no comparison of val_loss"):
        find_noise("val_loss", stated=tmp_path / "a")
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UserError, match="does not hold a study's results"):
        find_noise("val_loss", stated=tmp_path)


def test_what_a_plan_can_show_is_the_power_of_its_test_at_holms_first_level() -> None:
    known = Noise(0.003, "stated")
    assert detectable_difference(known, 3) == pytest.approx(0.003 * 3.264, rel=1e-3)
    effect = detectable_difference(known, 5, comparisons=4) / 0.003  # type: ignore[operator]
    assert power.paired_t_power(effect, 5, 0.05 / 4) == pytest.approx(0.8, abs=1e-4)
    looked = detectable_difference(known, 5, comparisons=4, sequential=True)
    assert looked == pytest.approx(0.003 * sequential.detectable_effect(5, 0.05 / 4))
    assert looked > 1.1 * effect * 0.003
    assert detectable_difference(known, 1) is None
    assert detectable_difference(known, 3, comparisons=9, sequential=True) is None


def test_sentences() -> None:
    stated, measured = Noise(0.003, "as stated in the study file"), Noise(0.003, "the earlier study demo in runs", 6)
    assert sentence(stated, 3) == (
        "3 seeds can show differences from 0.98 % with 80 % power (paired noise 0.30 %, as stated in the study file)"
    )
    text = sentence(measured, 5, 3)
    assert "5 seeds can show differences from 0.6" in text
    assert "in any of 3 comparisons" in text
    assert "from the earlier study demo in runs; it may be 0.19 % to 0.66 %" in text  # χ² table: 14.449 and 1.237
    assert sentence(stated, 1).startswith("1 seed can show no difference")
    assert sentence(stated, 2, sequential=True).startswith("at most 2 seeds can show no difference")
    assert "noise: 0.003" in sentence(None, 3)
