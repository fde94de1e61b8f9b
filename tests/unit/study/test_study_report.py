"""The report: it says the verdicts, stands alone, cannot be broken by names, and draws what there is to draw."""

from __future__ import annotations

import base64
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from synthetic_study import SyntheticStudy, finish, three_arms

from gatewright.study import analyse, write_report
from gatewright.study import report as report_module
from gatewright.study.contents import report_contents
from gatewright.study.metric import METRICS
from gatewright.study.plots import FIGURES
from gatewright.study.report import render
from gatewright.study.statistics import compare_paired
from gatewright.study.style import DARK, NARROW, WIDE, colours, house_style, new_figure, spread_labels, svg
from gatewright.study.trial import Trial
from gatewright.study.wording import count, duration, headline, metric_value, p_number, p_text, percent, sentence

NO_BREAK = "\u00a0"


class Page(HTMLParser):
    """Text, tags and addresses of a page; fails on tags that do not nest."""

    EMPTY = frozenset({"meta", "img", "source", "br", "link", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.addresses, self._open = "", [], [], []
        self.feed(html)
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``report.html`` of a finished study, written once for the tests that only read it."""
    study = finish(SyntheticStudy(tmp_path_factory.mktemp("report") / "study", three_arms()))
    return write_report(study.folder.path)


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    """The same, parsed."""
    return Page(report.read_text())


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """One figure is enough where the test is about the text."""
    monkeypatch.setattr(report_module, "FIGURES", {"differences": FIGURES["differences"]})


def images(page: Page) -> list[str]:
    """The SVG texts of a page."""
    return [base64.b64decode(a.partition("base64,")[2]).decode() for a in page.addresses]


def test_the_report_says_verdicts_first_and_holds_everything(report: Path, page: Page) -> None:
    text = page.text.replace(NO_BREAK, " ")
    assert report.name == "report.html"
    assert "No arm is shown to be better than gelu: 1 worse and 1 equivalent." in text
    for comparison in analyse(report.parent).comparisons:
        said = sentence(comparison, METRICS["val_loss"])
        assert said in text
        assert text.index(said) < text.index("Results")
        assert said in (report.parent / "report.md").read_text().replace("&lt;", "<")
    for expected in ("1,000,000", "6.00 M", "What this study could have seen", "Exact configuration", "n_embd: 768",
                     "gatewright study run study.yaml", "model.feedforward=pagelu", "torch 2.13.0",
                     "3.97 M training tokens, 179 k held out, 98.3 k of them scored", "0123456789ab with uncommitted",
                     "402 GFLOP/s"):  # fmt: skip
        assert expected in text, expected
    assert report.stat().st_size < 5_000_000


def test_the_report_loads_nothing(page: Page) -> None:
    assert page.addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    for text in [page.text, *images(page)]:
        assert not re.search(r"@import|url\((?!['\"]?#)", text)
    for image in images(page):
        root = ElementTree.fromstring(image)
        hrefs = [value for node in root.iter() for key, value in node.attrib.items() if key.endswith("href")]
        assert all(href.startswith("#") for href in hrefs)
        assert not [node for node in root.iter() if node.tag.endswith(("image", "script", "foreignObject"))]


def test_figures_follow_the_reader_into_the_dark(page: Page) -> None:
    for image in images(page):
        drawn = re.sub(r"<style>.*?</style>", "", image, flags=re.DOTALL)
        assert "prefers-color-scheme: dark" in image
        assert set(re.findall(r": (#[0-9a-f]{6})", drawn)) == set(), "a colour that does not change with the page"
        for name in re.findall(r"var\(--([0-9a-f]{6})\)", drawn):
            assert f"#{name}" in DARK


def test_every_figure_is_saved_for_papers_and_fits_both_pages(report: Path, page: Page) -> None:
    figures = report.parent / "figures"
    drawn = {path.stem for path in figures.glob("*.png")}
    assert drawn == {"differences", "seeds", "learning", "training_loss", "alpha"}  # equal sizes: no cost figure
    assert drawn == {path.stem for path in figures.glob("*.pdf")}
    assert page.tags.count("source") == page.tags.count("img") == len(drawn)
    widths = sorted({float(ElementTree.fromstring(image).attrib["viewBox"].split()[2]) for image in images(page)})
    assert widths == pytest.approx([72 * NARROW.width, 72 * WIDE.width])


def test_the_cost_figure_appears_when_sizes_differ(make_study: Callable[..., SyntheticStudy]) -> None:
    study = make_study(seeds=2)
    for seed in range(2):
        study.run("gelu", seed, 3.7)
        study.run("same", seed, 3.71)
        study.run("worse", seed, 3.8, parameters=1_500_000)
    with house_style():
        drawn = {name: FIGURES[name][0](analyse(study.folder.path), WIDE) for name in ("cost", "alpha")}
    assert drawn["cost"] is not None
    assert drawn["alpha"] is None


def test_learning_curves_pair_runs_of_one_seed(study: SyntheticStudy) -> None:
    with house_style():
        figure = FIGURES["learning"][0](analyse(study.folder.path), WIDE)
    lines = {line.get_color(): line for line in figure.axes[1].get_lines() if len(line.get_ydata()) > 2}
    colour = colours(list(study.plan.study.arms), "gelu")
    assert lines[colour["worse"]].get_ydata()[-1] == pytest.approx(2.05, abs=1e-6)
    assert lines[colour["same"]].get_ydata()[-1] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.usefixtures("few_figures")
def test_names_and_texts_cannot_break_out_of_the_page(make_study: Callable[..., SyntheticStudy]) -> None:
    hostile = "<script>alert('x')</script> & \"quotes\" | pipe\nline"
    study = make_study(seeds=2, about=hostile)
    for seed in range(2):
        study.run("gelu", seed, 3.7)
        study.run("worse", seed, 3.8, status="failed", error=hostile)
        study.run("same", seed, 3.71 + 0.01 * seed)
    page = Page(write_report(study.folder.path).read_text())
    assert page.tags.count("script") == 2, "the explorer's data and code"
    assert hostile in page.text
    markdown = (study.folder.path / "report.md").read_text()
    assert "<script" not in markdown
    assert "\\| pipe line" in markdown

    analysis = analyse(study.folder.path)
    contents = report_contents(analysis) | {"dark": DARK, "colours": {}, "explorer": None}
    for row in contents["rows"]:  # an arm's name is checked when a study is read; the page does not rely on it
        contents["colours"][row["arm"] + hostile] = "#0072b2"
        row["arm"] += hostile
    for design in [*contents["designs"], *contents["sight"], *contents["trials"]]:
        design["arm"] += hostile
    contents["analysis"].comparisons.clear()
    page = Page(render("report.html.j2", contents, {}))
    assert "script" not in page.tags
    assert "gelu" + hostile in page.text


@pytest.mark.parametrize("finished", [[], [("gelu", 0)], [("gelu", 0), ("worse", 0)]])
def test_a_report_can_be_written_at_any_time(
    make_study: Callable[..., SyntheticStudy], finished: list[tuple[str, int]]
) -> None:
    study = make_study(seeds=2)
    for arm, seed in finished:
        study.run(arm, seed, 3.7)
    text = Page(write_report(study.folder.path).read_text()).text
    assert "is not finished (waiting)" in text
    assert ("One seed allows no verdict." in text) == (len(finished) == 2)
    assert ("Nothing can be compared yet." in text) == (len(finished) < 2)


@pytest.mark.usefixtures("few_figures")
def test_a_baseline_that_scores_nothing_has_no_percentages(make_study: Callable[..., SyntheticStudy]) -> None:
    study = make_study(seeds=2, metric="val_token_accuracy")
    for seed in range(2):
        for arm, loss in (("gelu", math.inf), ("worse", math.inf), ("same", 4.0 + seed)):
            study.run(arm, seed, 3.7)
            summary = study.folder.run(Trial(arm, seed)) / "summary.json"
            summary.write_text(json.dumps({**json.loads(summary.read_text()), "val_token_accuracy": 1 / loss}))
    write_report(study.folder.path)
    results = json.loads((study.folder.path / "results.json").read_text())
    assert [d["relative_difference_percent"] for d in results["details"]] == [None, None]
    assert results["comparisons"][1]["mean_difference"] == pytest.approx(0.225)


@pytest.mark.usefixtures("few_figures")
def test_warnings_come_before_the_figures(study: SyntheticStudy) -> None:
    summary = study.folder.run(Trial("same", 1)) / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "status": "failed", "error": "out of memory"}))
    html = write_report(study.folder.path).read_text()
    assert 0 < html.index("Before you believe this") < html.index("<figure>")
    assert "same, seed 1 failed: out of memory" in html


def test_equal_runs_give_equal_figures(report: Path) -> None:
    def drawn() -> list[str]:
        with house_style():
            return [svg(FIGURES[name][0](analyse(report.parent), WIDE)) for name in ("differences", "alpha")]

    assert drawn() == drawn()


def test_labels_are_moved_apart_and_stay_inside() -> None:
    with house_style():
        figure = new_figure(WIDE, 3.0)
        axes = figure.add_subplot()
        axes.set_ylim(0, 1)
        figure.draw_without_rendering()
        places = spread_labels(axes, [0.5, 0.5, 0.501, 0.98, 0.99, 1.0])
    step = 11.5 / (axes.get_position().height * 3.0 * 72)
    gaps = [high - low for low, high in pairwise(places)]
    assert min(gaps) > 0.97 * step
    assert min(places) > -1e-6
    assert max(places) < 1 + 1e-6


def test_sentences() -> None:
    metric = METRICS["val_loss"]
    baseline = [3.676, 3.681, 3.690]
    worse = compare_paired(
        [b * f for b, f in zip(baseline, (1.021, 1.022, 1.023), strict=True)], baseline, arm="pa", baseline="gelu"
    )
    assert (
        sentence(worse, metric)
        == "pa is worse than gelu: validation loss 2.20 % ± 0.26 % higher (n = 3, Holm p < 0.001)."
    )
    single = compare_paired([3.6], [3.7], arm="pa", baseline="gelu")
    assert sentence(single, metric) == "pa against gelu: no verdict from one seed (validation loss −2.7 %)."
    same = compare_paired(
        [b + 0.0001 * s for b, s in zip(baseline, (1, -1, 0), strict=True)],
        baseline,
        arm="pa",
        baseline="gelu",
        margin=0.02,
    )
    assert sentence(same, metric) == (
        "pa is equivalent to gelu: the validation loss differs by less than 0.54 % (measured +0.000 % ± 0.007 %) "
        "(n = 3, equivalence p < 0.001)."
    )
    assert headline([worse], "gelu") == "pa is worse than gelu."


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (p_text(0.0123), "p = 0.012"),
        (p_text(0.0004), "p < 0.001"),
        (p_text(0.34), "p = 0.34"),
        (p_text(1.0), "p = 1.00"),
        (p_number(0.0004), "< 0.001"),
        (p_number(None), "—"),
        (percent(2.2391, like=0.163), "+2.24 %"),
        (percent(-0.6, like=1.2), "−0.6 %"),
        (percent(0.0123, like=0.004), "+0.012 %"),
        (metric_value(3.67612), "3.6761"),
        (metric_value(39.51234), "39.512"),
        (metric_value(None), "—"),
        (count(918_656), "919 k"),
        (count(1_060_000), "1.06 M"),
        (count(855_212_544), "855 M"),
        (count(999_900), "1.00 M"),
        (count(12), "12.0"),
        (duration(45), "45 s"),
        (duration(720), "12 min"),
        (duration(11_100), "3 h 05 min"),
    ],
)
def test_numbers_are_written_for_reading(shown: str, expected: str) -> None:
    assert shown == expected
