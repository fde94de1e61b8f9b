"""A guard against getting slower: `gatewright train` of two commits, in turns.

    python benchmarks/commits.py HEAD~1 HEAD --shape small

Fails if the second trains at less than ``--least`` times the speed of the first, by the median of the rounds.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from turns import SHAPES, Contender, letters, take_turns

ROOT = Path(__file__).parent.parent


def main(
    before: Annotated[str, typer.Argument(help="a commit")],
    after: Annotated[str, typer.Argument(help="another")] = "HEAD",
    shape: Annotated[str, typer.Option(help=f"one of {', '.join(SHAPES)}")] = "small",
    rounds: Annotated[int, typer.Option(min=2, help="turns of each")] = 40,
    least: Annotated[float, typer.Option(help="the smallest ratio that is no failure")] = 0.95,
    options: Annotated[str, typer.Option(help="more for gatewright train, understood by both")] = "",
) -> None:
    """Print the ratio, and exit with 1 if it is too small."""
    if shape not in SHAPES:
        raise typer.BadParameter(f"{shape}: choose one of {', '.join(SHAPES)}")
    with tempfile.TemporaryDirectory() as place, letters() as text:
        pair = []
        for name, commit in (("before", before), ("after", after)):
            folder = Path(place) / name
            subprocess.run(["git", "worktree", "add", "--detach", "--quiet", folder, commit], cwd=ROOT, check=True)
            source = str(folder / "src")
            pair.append(Contender(name, SHAPES[shape], source=source, options=tuple(options.split())))
        try:
            old, new = take_turns(pair, text, rounds)
        finally:
            for name in ("before", "after"):
                subprocess.run(["git", "worktree", "remove", "--force", Path(place) / name], cwd=ROOT, check=True)
    ratio, low, high = new.times_as_fast_as(old)
    print(f"{after} trains at {ratio:.3f} ({low:.3f} to {high:.3f}) of the speed of {before}")
    raise typer.Exit(ratio < least)


if __name__ == "__main__":
    typer.run(main)
