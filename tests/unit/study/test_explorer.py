"""The report's interactive curves: their numbers are the runs', fit into the page and cannot break out of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_study import BASELINE_LOSSES, SyntheticStudy, finish, three_arms

from gatewright.study import analyse, series, write_report
from gatewright.study.analysis import Analysis
from gatewright.study.contents import report_contents
from gatewright.study.explorer import explorer_data
from gatewright.study.plan import Arm, Study
from gatewright.study.report import render
from gatewright.study.series import Curves
from gatewright.study.style import DARK, colours
from gatewright.study.trial import Trial


class Scripts(HTMLParser):
    """The scripts of a page, as a browser would cut them out: (attributes, text)."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.attributes: list[str] = []
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script"
        self.attributes += [name for name, _ in attrs]
        if self._inside:
            self.found.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.found[-1] = (self.found[-1][0], self.found[-1][1] + data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study, for the tests that only read it."""
    return finish(SyntheticStudy(tmp_path_factory.mktemp("explorer") / "study", three_arms())).folder.path


@pytest.fixture(scope="module")
def analysis(folder: Path) -> Analysis:
    """The same, analysed."""
    return analyse(folder)


@pytest.fixture(scope="module")
def html(analysis: Analysis) -> str:
    """The same as a page without figures, which are tested elsewhere and take seconds to draw."""
    return page(analysis, explorer_data(analysis))


def page(analysis: Analysis, data: dict[str, Any] | None) -> str:
    palette = colours(list(analysis.arms), analysis.study.baseline)
    contents = report_contents(analysis) | {"dark": DARK, "colours": palette, "explorer": data}
    return render("report.html.j2", contents, {})


def refuse(constant: str) -> None:
    """NaN and Infinity are Python's, not JSON's: a browser would read nothing at all."""
    raise AssertionError(constant)


def read_data(html: str) -> dict[str, Any]:
    """What the page's script will find."""
    (_, text), _ = Scripts(html).found
    return json.loads(text, parse_constant=refuse)


def by_name(quantity: dict[str, Any]) -> dict[str, Any]:
    return {line["name"]: line for line in quantity["lines"]}


def test_the_numbers_in_the_page_are_those_of_the_runs(analysis: Analysis, html: str) -> None:
    loss, difference, training, alpha = read_data(html)["quantities"]
    assert [q["label"] for q in (loss, difference, training, alpha)] == [
        "Validation loss", "Validation loss: difference from gelu, %", "Training loss, smoothed", "α of worse",
    ]  # fmt: skip
    assert read_data(html)["axis"]["label"] == "training tokens"
    assert by_name(loss)["gelu"]["seeds"] == [0, 1, 2, 3]
    assert [seed[-1] for seed in by_name(loss)["gelu"]["values"]] == BASELINE_LOSSES
    assert [seed[-1] for seed in by_name(difference)["worse"]["values"]] == pytest.approx([2, 2.1, 2, 2.1], abs=1e-9)
    assert list(by_name(difference)) == ["worse", "same"]
    assert [seed[-1] for seed in by_name(alpha)["layer 1"]["values"]] == [0.9] * 4
    same = analysis.arms["same"]
    for quantity, curves in ((loss, series.evaluations(same, "val_loss")), (training, series.training(same))):
        line = by_name(quantity)["same"]
        assert line["x"] == curves.x.tolist()
        np.testing.assert_allclose(line["values"], curves.values, rtol=5e-6)


def test_a_curve_has_its_arms_colour_in_light_and_dark(html: str) -> None:
    colour = colours(["gelu", "worse", "same"], "gelu")
    for quantity in read_data(html)["quantities"]:
        for line in quantity["lines"]:
            own = colour[line["name"] if line["name"] in colour else "worse"]
            assert line["look"]["stroke"] == f"var(--{own[1:]})"
            assert f"--{own[1:]}: {own};" in html
            assert f"--{own[1:]}: {DARK[own]};" in html


def test_many_arms_with_long_curves_stay_small_and_distinct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"arm-{i}" for i in range(10)]
    study = SyntheticStudy(tmp_path / "study", Study("many", names[0], {name: Arm([]) for name in names}, [0]))
    rng = np.random.default_rng(0)
    long = Curves(np.arange(1.0, 20_001.0) * 524_288, [0, 1, 2, 3, 4], 4 - rng.random((5, 20_000)))
    monkeypatch.setattr(series, "evaluations", lambda arm, key, axis: long)
    monkeypatch.setattr(series, "training", lambda arm, key, axis: long)
    monkeypatch.setattr(series, "alphas", lambda arm, axis: {str(layer): long for layer in range(12)})
    data = explorer_data(analyse(study.folder.path))
    assert len(data["quantities"]) == 3 + len(names)
    for quantity in data["quantities"]:
        for line in quantity["lines"]:
            assert [line["x"][i] for i in (0, -1)] == [long.x[0], long.x[-1]]
            steps = np.diff(line["x"])
            assert len(steps) > 50
            assert steps.max() < 1.05 * steps.min()
    assert 500_000 < len(json.dumps(data, separators=(",", ":"))) < 2_000_000
    assert len({json.dumps(line["look"]) for line in data["quantities"][0]["lines"]}) == len(names)


def test_names_cannot_end_the_script(analysis: Analysis) -> None:
    hostile = "</script><script>alert('x')</script><!-- & \u2028 {{ 7 * 7 }}"
    data = explorer_data(analysis)
    for quantity in data["quantities"]:
        quantity["label"] += hostile
        for line in quantity["lines"]:
            line["name"] += hostile
    html = page(analysis, data)
    assert len(Scripts(html).found) == 2
    assert read_data(html) == data


def test_the_script_loads_nothing_and_may_not(html: str) -> None:
    (data, _), (code, text) = Scripts(html).found
    assert "src" not in data | code
    assert not re.search(r"https?:|fetch|XMLHttpRequest|WebSocket|import|sendBeacon|EventSource|eval|innerHTML", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert policy[1] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    assert not [name for name in Scripts(html).attributes if name.startswith("on")]


def test_values_without_a_number_are_left_out(make_study: Callable[..., SyntheticStudy]) -> None:
    study = make_study(seeds=1, metric="val_token_accuracy")
    for arm in ("gelu", "same"):
        study.run(arm, 0, 3.7)
    metrics = study.folder.run(Trial("gelu", 0)) / "metrics.jsonl"
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    first = next(record for record in records if record["kind"] == "eval")
    first["val_token_accuracy"] = 0.0
    metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    analysis = analyse(study.folder.path)
    accuracy, difference, _ = read_data(page(analysis, explorer_data(analysis)))["quantities"]
    assert by_name(accuracy)["gelu"]["x"][0] == first["tokens"]
    assert by_name(difference)["same"]["x"] == by_name(accuracy)["gelu"]["x"][1:]


def test_without_curves_there_is_no_explorer(make_study: Callable[..., SyntheticStudy]) -> None:
    html = write_report(make_study(seeds=1).folder.path).read_text()
    assert not Scripts(html).found
    assert 'id="explorer"' not in html


def test_a_metric_without_a_curve_shows_the_validation_loss(make_study: Callable[..., SyntheticStudy]) -> None:
    study = make_study(seeds=1, metric="train_loss")
    study.run("worse", 0, 3.7)  # and no baseline to differ from
    labels = [quantity["label"] for quantity in explorer_data(analyse(study.folder.path))["quantities"]]
    assert labels == ["Validation loss", "Training loss, smoothed"]
