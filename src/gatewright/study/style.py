"""How figures look: one palette for light and dark, one layout for desktop and phone, and their way into a page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1f2328", "#636c76", "#d8dee4", "#ffffff"

# Okabe and Ito's colour-blind-safe palette (2008), without its yellow, which is too faint on white
ARM_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
BASELINE_COLOUR = "#4b5563"

DARK = {
    INK: "#e6edf3", MUTED: "#9198a1", GRID: "#3d444d", PAPER: "#0d1117", BASELINE_COLOUR: "#b1bac4",
    "#0072b2": "#4aa8e8", "#d55e00": "#ff8a3d", "#009e73": "#2fcf9d", "#cc79a7": "#e59cc4", "#e69f00": "#f2b93b",
    "#56b4e9": "#8fd0f5",
}  # fmt: skip
"""What each colour of the light page becomes on a dark one."""

WEB_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Layout:
    """The width of a figure in inches and whether its panels stand below one another."""

    name: str
    width: float
    stacked: bool


WIDE = Layout("wide", 7.8, stacked=False)
NARROW = Layout("narrow", 4.1, stacked=True)


def colours(arms: Sequence[str], baseline: str) -> dict[str, str]:
    """A colour per arm, the same in every figure: grey for the baseline, the palette in order for the others."""
    others = [arm for arm in arms if arm != baseline]
    return {baseline: BASELINE_COLOUR, **{arm: ARM_COLOURS[i % len(ARM_COLOURS)] for i, arm in enumerate(others)}}


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's settings for every figure of a report."""
    settings: dict[str, Any] = {
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9, "text.color": INK,
        "axes.edgecolor": MUTED, "axes.labelcolor": MUTED, "axes.titlecolor": INK, "axes.titlesize": 9.5,
        "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.titlepad": 8, "axes.linewidth": 0.7,
        "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none", "figure.facecolor": PAPER,
        "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True,
        "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5,
        "xtick.major.size": 0, "ytick.major.size": 0, "lines.linewidth": 1.8, "lines.solid_capstyle": "round",
        "svg.fonttype": "none", "pdf.fonttype": 42, "axes.unicode_minus": True,
    }  # fmt: skip
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        yield


def new_figure(layout: Layout, height: float) -> Figure:
    """An empty figure that belongs to no window system."""
    figure = Figure(figsize=(layout.width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def label_ends(axes: Axes, ends: Sequence[tuple[str, float, str]], x: float) -> None:
    """Write each curve's name at its right end instead of a legend: ``ends`` holds (name, last y, colour).

    Names that would overlap are moved apart and tied to their curve by a thin line. Call it when limits are final.
    """
    ordered = sorted(ends, key=lambda end: end[1])
    places = spread_labels(axes, [y for _, y, _ in ordered])
    low, high = axes.get_ylim()
    for (name, y, colour), place in zip(ordered, places, strict=True):
        axes.annotate(
            name, (x, min(max(y, low), high)), (1.045, place), xycoords="data", textcoords=axes.get_yaxis_transform(),
            color=colour, va="center", fontsize=8.5, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0.5)},
        )  # fmt: skip


def spread_labels(axes: Axes, heights: Sequence[float], points: float = 11.5) -> list[float]:
    """Ascending y positions, each near its height, a line of ``points`` apart, inside the axes where they fit."""
    low, high = axes.get_ylim()
    step = points / max(axes.get_position().height * axes.figure.get_figheight() * 72, 1) * (high - low)  # type: ignore[union-attr]
    places = [min(max(y, low), high) for y in heights]
    for _ in range(50):  # neighbours that are too close push each other apart equally
        for i in range(1, len(places)):
            lack = step - (places[i] - places[i - 1])
            if lack > 0:
                places[i - 1] -= lack / 2
                places[i] += lack / 2
        shift = max(0.0, low - min(places, default=low)) - max(0.0, max(places, default=high) - high)
        places = [place + shift for place in places]
    return places


def settle(figure: Figure) -> Figure:
    """Lay the figure out a last time and keep that layout, so that each file it is saved to need not do it again."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG at 200 dots an inch."""
    return _save(figure, "png", dpi=200)


def pdf(figure: Figure) -> bytes:
    """The figure as PDF, without a creation date so that the same runs give the same bytes."""
    return _save(figure, "pdf", metadata={"CreationDate": None})


def svg(figure: Figure) -> str:
    """The figure as SVG that follows the reader's light or dark setting and uses the reader's fonts."""
    with mpl.rc_context({"svg.hashsalt": "gatewright", "figure.facecolor": "none"}):
        text = _save(
            figure, "svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}, transparent=True
        ).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace("'DejaVu Sans', sans-serif", WEB_FONTS).replace("'DejaVu Sans'", WEB_FONTS)
    light = "".join(f"--{colour[1:]}:{colour};" for colour in DARK)
    dark = "".join(f"--{colour[1:]}:{there};" for colour, there in DARK.items())
    for colour in DARK:
        text = text.replace(f": {colour}", f": var(--{colour[1:]})")
    style = f"<style>svg{{{light}}}@media (prefers-color-scheme: dark){{svg{{{dark}}}}}</style>"
    return text.replace("<defs>", f"{style}<defs>", 1)


def data_uri(svg_text: str) -> str:
    """An SVG as a ``data:`` address for an ``<img>``: nothing to load, and its ids stay its own."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg_text.encode()).decode()


def _save(figure: Figure, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()
