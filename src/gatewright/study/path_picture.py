"""The picture of one question's paths: their tokens, and who listened to whom at each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline

from gatewright.errors import UserError
from gatewright.reading import complaint, read_json_object
from gatewright.study.analysis import Analysis
from gatewright.study.gather import ArmResult, TrialResult
from gatewright.study.kind import has_shuffled_rewards, similarity_of
from gatewright.study.style import ARM_COLOURS, BASELINE_COLOUR, GRID, INK, MUTED, PAPER, Layout, new_figure

LISTENING = "listening.json"
"""The file of a run directory that holds one question's paths."""

CONTROLS = ("random_peer", "none")
"""Similarities that are shown only where there is no other."""

MOST_PATHS = 12
MOST_LETTERS = 8
BEFORE_FORK = 2
"""Columns shown before the first one in which paths differ, where not all have room."""

# inches
ROW, LETTER, CELL_PADDING, SIDE, HEAD, FOOT, REWARD = 0.36, 0.078, 0.12, 0.36, 0.5, 0.2, 0.78
GAP, WIDEST_GAP = 0.25, 0.6
"""Between columns: at least, and where there is room."""
CELL_HEIGHT = 0.22
WIDEST = 4.5
"""Points: the ribbon of all attention."""

TOKEN_COLOURS = ARM_COLOURS[:4]
"""Of a column's tokens from the one drawn most often on: those on which letters can be read. The others are grey."""
RIGHT, WRONG = ARM_COLOURS[2], ARM_COLOURS[1]


@dataclass(frozen=True)
class Listened:
    """Paths of a question as a run left them."""

    arm: str
    seed: int
    step: int
    prompt: str
    answer: str
    tokens: list[list[str]]
    """by path"""
    rewards: list[float | None]
    ribbons: list[tuple[int, int, int, float]]
    """``(step, listener, peer, weight)``: between the tokens of ``step`` and of the next one"""
    lag: int
    """Steps from a ribbon's beginning to the tokens that it is judged by: 1 where paths listen before they draw."""

    def token(self, path: int, step: int) -> str | None:
        """What the path drew then; None before its beginning and after its end."""
        own = self.tokens[path]
        return own[step] if 0 <= step < len(own) else None

    @property
    def steps(self) -> int:
        """Of the longest path."""
        return max(map(len, self.tokens))

    @property
    def first_fork(self) -> int:
        """The first step at which paths draw different tokens; 0 if there is none."""
        return next((s for s in range(self.steps) if len(self.column(s)) > 1), 0)

    def column(self, step: int) -> list[str]:
        """The tokens of a step, the one drawn most often first; of equals that of the first path."""
        drawn = [t for path in range(len(self.tokens)) if (t := self.token(path, step)) is not None]
        return [token for token, _ in Counter(drawn).most_common()]


def paths(analysis: Analysis, layout: Layout) -> Figure | None:
    """The paths of a held-out question at the last evaluation, of the best arm that listens, its first seed."""
    shown = find_paths(analysis)
    return None if shown is None else draw_paths(shown, layout)


def find_paths(analysis: Analysis) -> Listened | None:
    """Of the arms whose paths heard somebody, the best one's; controls come last."""
    if not analysis.rewarded:
        return None

    def is_control(arm: ArmResult) -> bool:
        design = analysis.designs[arm.name]
        return similarity_of(design) in CONTROLS or has_shuffled_rewards(design)

    for arm in sorted(analysis.ranking, key=is_control):  # a stable sort: the ranking's order within both
        for trial in arm.trials:
            try:
                found = read_paths(trial, lag=int(analysis.designs[arm.name].get("rl.blend") == "logits"))
            except UserError:  # it has nothing to show
                continue
            if found is not None and found.ribbons:
                return found
    return None


def read_paths(trial: TrialResult, lag: int = 0) -> Listened | None:
    """What a usable run wrote down; None where it wrote nothing."""
    if trial.run is None or trial.value is None:
        return None
    file = trial.run.path / LISTENING
    if not file.is_file():
        return None
    record = read_json_object(file)
    try:
        return _listened(trial, record, lag)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"cannot read {file}: {type(error).__name__}: {complaint(error)}") from error


def _listened(trial: TrialResult, record: dict[str, Any], lag: int) -> Listened:
    question, written = record["question"], record["paths"]
    return Listened(
        trial.trial.arm,
        trial.trial.seed,
        int(record["step"]),
        str(question["prompt"]),
        str(question["answer"]),
        [[str(token) for token in path["tokens"]] for path in written],
        [None if path["reward"] is None else float(path["reward"]) for path in written],
        [
            (int(heard["step"]) - lag, int(heard["path"]), int(peer), float(weight))
            for heard in record["heard"]
            for peer, weight in heard["peers"].items()
        ],
        lag,
    )


def window(widths: Sequence[float], room: float, first_fork: int) -> range:
    """The columns to be shown of those of these ``widths``: as many as have ``room``, from shortly before the fork on.

    Where that leaves room behind the last column, it begins earlier. At least one is shown.
    """
    start = stop = max(0, min(first_fork, len(widths) - 1) - BEFORE_FORK)
    used = 0.0
    while stop < len(widths) and (used + widths[stop] <= room or stop == start):
        used += widths[stop]
        stop += 1
    while start > 0 and used + widths[start - 1] <= room:
        start -= 1
        used += widths[start]
    return range(start, stop)


def draw_paths(shown: Listened, layout: Layout) -> Figure:
    """Cells in rows and columns, ribbons between columns, rewards at the ends."""
    rows = min(len(shown.tokens), MOST_PATHS)
    width = [_cell_width(shown, step) for step in range(shown.steps)]
    room = layout.width - SIDE - REWARD
    columns = window([w + GAP for w in width], room, shown.first_fork)
    gap = min(WIDEST_GAP, (room - sum(width[step] for step in columns)) / len(columns))
    height = HEAD + ROW * rows + FOOT
    figure = new_figure(layout, height)
    figure.set_layout_engine("none")  # everything has its place in inches
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, layout.width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    lefts, x = {}, SIDE
    for step in columns:
        lefts[step] = x
        x += width[step] + gap
    grid = _Grid(axes, shown, lefts, width)
    _draw_words(grid, layout, columns, rows)
    for step, listener, peer, weight in sorted(shown.ribbons, key=lambda ribbon: ribbon[-1]):
        if listener < rows and peer < rows:
            grid.ribbon(step, listener, peer, weight)
    for path in range(rows):
        for step in columns:
            grid.cell(path, step)
    return figure


def _cell_width(shown: Listened, step: int) -> float:
    letters = max((len(_legible(token)) for token in shown.column(step)), default=1)
    return CELL_PADDING + LETTER * max(1, letters)


def _legible(token: str) -> str:
    """A token as it can be seen: white space as signs, long ones cut."""
    return _cut(token.strip(" ").replace("\n", "↵").replace("\t", "⇥") or "␣", MOST_LETTERS)


def _cut(text: str, most: int) -> str:
    """At most so many characters, all of which can be printed; control characters are not even allowed in an SVG."""
    seen = "".join(letter if letter.isprintable() else "·" for letter in text)
    return seen if len(seen) <= most else seen[: most - 1] + "…"


def _draw_words(grid: _Grid, layout: Layout, columns: range, rows: int) -> None:
    """The question above, paths on the left, rewards on the right, places below."""
    shown, axes = grid.shown, grid.axes
    plain: dict[str, Any] = {"parse_math": False, "va": "center"}
    few = f", {rows} of {len(shown.tokens)} paths" if rows < len(shown.tokens) else ""
    axes.text(
        0.02, 0.11, f"{shown.arm}, seed {shown.seed}, after {shown.step:,} steps{few}", fontweight="bold", fontsize=9.5,
        **plain,
    )  # fmt: skip
    asked = _cut(" ".join(shown.prompt.split()), 40 if layout.stacked else 84)
    axes.text(0.02, 0.33, f"{asked} · answer {_cut(shown.answer, 14)}", color=MUTED, **plain)
    foot = HEAD + ROW * rows + 0.05
    for step in columns:
        axes.text(
            grid.lefts[step] + grid.width[step] / 2, foot, str(step + 1), color=MUTED, fontsize=7.5, ha="center",
            **plain,
        )  # fmt: skip
    axes.text(0.02, foot, "token", color=MUTED, fontsize=7.5, **plain)
    last = columns[-1]
    for path in range(rows):
        y = grid.middle(path)
        axes.text(0.02, y, str(path + 1), color=MUTED, fontsize=8, **plain)
        if columns.start:
            axes.text(SIDE - 0.09, y, "…", color=MUTED, ha="center", **plain)
        more = len(shown.tokens[path]) > columns.stop
        right = grid.lefts[last] + grid.width[last] + 0.06
        if more:
            axes.text(right, y, "…", color=MUTED, **plain)
        reward = shown.rewards[path]
        if reward is not None:
            said, colour = ("✓ right", RIGHT) if reward >= 1 else ("✗ wrong", WRONG)
            if 0 < reward < 1:
                said, colour = f"{reward:.2g}", MUTED
            axes.text(right + 0.14, y, said, color=colour, fontweight="bold", fontsize=8.5, **plain)


class _Grid:
    """Where cells lie, and how they and what runs between them are drawn. Places are in inches, downwards."""

    def __init__(self, axes: Axes, shown: Listened, lefts: dict[int, float], width: Sequence[float]) -> None:
        self.axes, self.shown, self.lefts, self.width = axes, shown, lefts, width
        self.colours = {
            step: dict(zip(tokens, TOKEN_COLOURS, strict=False)) if len(tokens := shown.column(step)) > 1 else {}
            for step in range(shown.steps)
        }

    def middle(self, path: int) -> float:
        """The height of a path's row."""
        return HEAD + ROW * (path + 0.5)

    def colour(self, step: int, token: str | None) -> str:
        """Of a token where paths differ."""
        return self.colours[step].get(token or "", BASELINE_COLOUR)

    def cell(self, path: int, step: int) -> None:
        """A token in a box."""
        token = self.shown.token(path, step)
        if token is None:
            return
        x, y, wide = self.lefts[step], self.middle(path), self.width[step]
        fork = bool(self.colours[step])
        colour = self.colour(step, token)
        box = FancyBboxPatch(
            (x, y - CELL_HEIGHT / 2), wide, CELL_HEIGHT, boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=colour if fork else PAPER, edgecolor=colour if fork else GRID, linewidth=0.9, zorder=3,
        )  # fmt: skip
        self.axes.add_patch(box)
        self.axes.text(
            x + wide / 2, y + 0.008, _legible(token), color=PAPER if fork else INK, ha="center", va="center",
            fontsize=8.5, fontweight="bold" if fork else "normal", parse_math=False, zorder=4,
        )  # fmt: skip

    def ribbon(self, step: int, listener: int, peer: int, weight: float) -> None:
        """From the peer's token of ``step`` to the listener's next one, if both are in the window."""
        if step not in self.lefts or step + 1 not in self.lefts or self.shown.token(listener, step + 1) is None:
            return
        judged = step + self.shown.lag
        heard, own = self.shown.token(peer, judged), self.shown.token(listener, judged)
        other = heard != own
        begin = (self.lefts[step] + self.width[step], self.middle(peer))
        end = (self.lefts[step + 1], self.middle(listener))
        bend = 0.5 * (end[0] - begin[0])
        curve = Outline(
            [begin, (begin[0] + bend, begin[1]), (end[0] - bend, end[1]), end],
            [Outline.MOVETO, Outline.CURVE4, Outline.CURVE4, Outline.CURVE4],
        )
        self.axes.add_patch(
            PathPatch(
                curve,
                facecolor="none",
                edgecolor=self.colour(judged, heard) if other else MUTED,
                linewidth=0.3 + WIDEST * weight,
                alpha=0.25 + 0.7 * weight if other else 0.08 + 0.17 * weight,
                capstyle="butt",
                zorder=2 if other else 1,
            )
        )
