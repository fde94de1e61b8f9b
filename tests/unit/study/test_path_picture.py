"""The picture of who listens to whom: whose paths, which columns, which ribbons; it can hold any text."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from synthetic_reasoning import HEARD, path_record, reasoning_config, reasoning_study, write_arm

from gatewright.study import analyse
from gatewright.study.path_picture import MOST_PATHS, Listened, draw_paths, find_paths, window
from gatewright.study.style import NARROW, PAPER, WIDE, Layout, house_style, settle, svg


def listened(tokens: list[str | list[str]], ribbons: list[tuple[int, int, int, float]], **details: Any) -> Listened:
    own = [list(path) for path in tokens]
    values: dict[str, Any] = {"prompt": "47+12-09=", "answer": "50", "rewards": [1.0] * len(own), "lag": 0, **details}
    return Listened("jsd", 0, 40, tokens=own, ribbons=ribbons, **values)


def drawn(shown: Listened, layout: Layout = WIDE) -> Figure:
    with house_style():
        return settle(draw_paths(shown, layout))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def ribbons(figure: Figure) -> list[PathPatch]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, PathPatch)]


@pytest.mark.parametrize(
    ("columns", "room", "fork", "expected"),
    [
        (9, 9, 4, range(9)),  # all have room
        (9, 5, 4, range(2, 7)),
        (9, 5, 0, range(5)),
        (9, 5, 1, range(5)),
        (9, 5, 8, range(4, 9)),  # no emptiness behind the end
        (9, 0.5, 4, range(2, 3)),
        (3, 5, 2, range(3)),
    ],
)
def test_the_window_begins_before_the_fork(columns: int, room: float, fork: int, expected: range) -> None:
    assert window([1.0] * columns, room, fork) == expected


def test_wide_columns_leave_room_for_fewer() -> None:
    assert window([1, 1, 1, 3, 1, 1], 5, 2) == range(3)
    assert window([1, 1, 1, 1, 3, 1], 6, 3) == range(1, 5)


def test_the_first_fork_is_where_living_paths_differ() -> None:
    assert listened(["5,0", "5,1"], []).first_fork == 2
    assert listened(["5,", "5,0", "5,0"], []).first_fork == 0  # one that has ended does not differ
    assert listened(["1", "2"], []).first_fork == 0
    assert listened(["aab", "aac", "aac"], []).column(2) == ["c", "b"]


def study_of(tmp_path: Path, arms: dict[str, tuple[Any, list[float]]], records: dict[str, Any]) -> Any:
    configs = {
        name: reasoning_config(*given) if isinstance(given, tuple) else given for name, (given, _) in arms.items()
    }
    study = reasoning_study(tmp_path / "study", configs, seeds=1)
    for name, (_, course) in arms.items():
        write_arm(study, name, [course], listening=HEARD, paths=records.get(name))
    return analyse(study.folder.path)


def test_the_best_arm_that_listens_is_shown_and_controls_last(tmp_path: Path) -> None:
    silent = {**path_record(["50$", "51$"], [1, 0]), "heard": []}
    heard = path_record(["50$", "51$"], [1, 0])
    shuffled = reasoning_config("cosine", shuffle_rewards=True)
    arms: dict[str, tuple[Any, list[float]]] = {
        "none": (reasoning_config(), [0.4, 0.99]),
        "random": (reasoning_config({"name": "random_peer"}), [0.4, 0.9]),
        "shuffled": (shuffled, [0.4, 0.8]),
        "worse": (reasoning_config("jsd"), [0.4, 0.5]),
        "better": (reasoning_config("jsd", blend_weight=0.2), [0.4, 0.6]),
        "unrecorded": (reasoning_config("jsd", blend_weight=0.3), [0.4, 0.7]),
    }
    everywhere = {"none": silent, **dict.fromkeys(("random", "shuffled", "worse", "better"), heard)}
    found = find_paths(study_of(tmp_path / "all", arms, everywhere))
    assert found is not None
    assert (found.arm, found.seed, found.step) == ("better", 0, 40)
    controls = {"none": silent, "random": heard, "shuffled": heard}
    found = find_paths(study_of(tmp_path / "controls", arms, controls))
    assert found is not None
    assert found.arm == "random"
    assert find_paths(study_of(tmp_path / "silent", arms, {"none": silent})) is None


def test_ribbons_run_to_the_next_token_and_differ_in_colour(tmp_path: Path) -> None:
    figure = drawn(listened(["50$", "51$", "50$"], [(1, 0, 1, 0.75), (1, 0, 2, 0.25), (2, 0, 1, 1.0)]))
    other, same = sorted(ribbons(figure), key=lambda patch: -patch.get_linewidth())  # the last token leads nowhere
    cells = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    (x0, y0), (x1, y1) = other.get_path().vertices[[0, -1]]
    assert y0 == pytest.approx(cells["1"][1], abs=0.02)  # from the peer's token ...
    assert x0 > cells["1"][0]
    assert y1 < y0  # ... up to the listener's row
    assert x1 - x0 > 0.2
    assert other.get_linewidth() > 2 * same.get_linewidth()
    assert other.get_alpha() > same.get_alpha()
    assert other.get_edgecolor()[:3] != same.get_edgecolor()[:3]
    logits = drawn(listened(["50$", "51$", "50$"], [(0, 0, 1, 1.0)], lag=1))  # heard before 0 and 1 were drawn
    assert ribbons(logits)[0].get_edgecolor()[:3] == other.get_edgecolor()[:3]


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=lambda layout: layout.name)
def test_long_completions_show_the_fork_and_the_end_of_rows(layout: Layout) -> None:
    long = "a" * 50
    shown = listened([long + "b" + long, long + "c" + long, long], [], rewards=[1.0, 0.0, 0.5])
    figure = drawn(shown, layout)
    found = texts(figure)
    assert {"49", "50", "51"} <= set(found), "numbers of the columns before and at the fork"
    assert "48" not in found
    assert {"b", "c", "✓ right", "✗ wrong", "0.5", "…"} <= set(found)
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width, text.get_text()
        assert box.y1 <= figure.bbox.height
        assert text.get_fontsize() >= 7.5


def test_any_text_can_be_drawn() -> None:
    hostile = ["$x^$", "\n", "  ", "\x00\x07", "<b>&", "antidisestablishment", "→ü", ""]
    prompt = "costs $5 and $6\n" + "x" * 500 + "\x0c</svg>"
    figure = drawn(listened([hostile, hostile[::-1]], [(0, 0, 1, 1.0)], prompt=prompt, answer="\x01" * 99), NARROW)
    ElementTree.fromstring(svg(figure))
    assert {"$x^$", "↵", "␣", "··", "<b>&", "antidis…"} <= set(
        texts(drawn(listened([hostile, hostile[::-1]], []), WIDE))
    )


def test_many_paths_are_cut_and_said_to_be() -> None:
    figure = drawn(listened(["12"] * 30, [(0, 29, 0, 1.0), (0, 0, 1, 1.0)]))
    assert any(f"{MOST_PATHS} of 30 paths" in text for text in texts(figure))
    assert len(ribbons(figure)) == 1
    assert figure.get_figheight() < 6
    boxes = [patch for patch in figure.axes[0].patches if not isinstance(patch, PathPatch)]
    assert len(boxes) == 2 * MOST_PATHS
    assert all(text.get_color() != PAPER for text in figure.axes[0].texts), "no cell is filled where nothing differs"
