"""The report: one HTML file that needs nothing else, the same in Markdown, and the figures as PNG and PDF."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from gatewright.files import write_atomic
from gatewright.study.analysis import Analysis, analyse
from gatewright.study.contents import report_contents
from gatewright.study.explorer import explorer_data
from gatewright.study.plots import FIGURES
from gatewright.study.style import DARK, NARROW, WIDE, colours, data_uri, house_style, pdf, png, settle, svg
from gatewright.study.wording import interval_text, p_number

NO_BREAK = "\u00a0"


@dataclass(frozen=True)
class DrawnFigure:
    """A figure for the page: for wide and narrow screens, with its caption."""

    name: str
    caption: str
    wide: str
    narrow: str


def write_report(path: str | Path) -> Path:
    """Analyse the study in folder ``path`` and write its whole report there; returns the path of ``report.html``.

    Also written: ``report.md``, ``results.json``, ``results.csv`` and ``figures/``. It may be called while trials are
    still running or missing; the report then says so. Raises `UserError` if ``path`` is not a study's folder.
    """
    return write_files(analyse(path))


def write_files(analysis: Analysis) -> Path:
    """Write the report of an analysis into its study's folder; returns the path of ``report.html``."""
    analysis.write()
    figures, folder = draw(analysis), analysis.folder.path
    contents = report_contents(analysis)
    contents |= {"colours": colours(list(analysis.arms), analysis.study.baseline), "dark": DARK}
    contents["explorer"] = explorer_data(analysis)
    write_atomic(folder / "report.md", render("report.md.j2", contents, figures))
    write_atomic(folder / "report.html", render("report.html.j2", contents, figures))
    return folder / "report.html"


def draw(analysis: Analysis) -> dict[str, DrawnFigure]:
    """Draw every figure there is something to draw in, and write PNG and PDF into the study's ``figures/``."""
    drawn = {}
    with house_style():
        for name, (plot, caption) in FIGURES.items():
            wide, narrow = plot(analysis, WIDE), plot(analysis, NARROW)
            if wide is None or narrow is None:
                continue
            settle(wide), settle(narrow)
            write_atomic(analysis.folder.figures / f"{name}.png", png(wide))
            write_atomic(analysis.folder.figures / f"{name}.pdf", pdf(wide))
            drawn[name] = DrawnFigure(name, caption, data_uri(svg(wide)), data_uri(svg(narrow)))
    return drawn


def render(template: str, contents: dict[str, Any], figures: dict[str, DrawnFigure]) -> str:
    """The report as text: ``report.html.j2`` or ``report.md.j2`` beside this module, filled."""
    environment = Environment(
        loader=PackageLoader("gatewright.study", "templates"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {"cell": _markdown_cell, "p": p_number, "interval": interval_text, "unbroken": _unbroken}
    return environment.get_template(template).render(**contents, figures=figures)


def _unbroken(text: str) -> str:
    """Text in which a number stays on the line of its unit and a p of its value."""
    return re.sub(r" (?=%|± |[=<] )|(?<=[±=<]) ", NO_BREAK, text)


def _markdown_cell(value: Any) -> str:
    """Text that cannot break a Markdown table or smuggle markup into it, such as a picture fetched from elsewhere."""
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(re.sub(r"([\\|`\[\]])", r"\\\1", text).split())
