"""What a part costs beside what it competes with."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from gatewright.config import load_config
from gatewright.config.model import ModelConfig
from gatewright.errors import UserError
from gatewright.model.cost import cost
from gatewright.model.matching import match_model
from gatewright.plugins import Plugin
from gatewright.registry import Entry
from gatewright.tryout.rivals import RIVALS, own_arm


def cost_table(entry: Entry, plugin: Plugin, preset: str) -> Table | None:
    """What ``entry`` and its rivals cost in one block of ``model=<preset>``, at equal width.

    Parameters and forward FLOPs per token; for parts of the feed-forward block also the width at which it has the
    baseline's parameters. None for a kind that changes no model's cost.
    """
    if entry.kind not in RIVALS or (component := RIVALS[entry.kind].component) is None:
        return None
    rivals = RIVALS[entry.kind]
    name, own = own_arm(entry, plugin)
    shown = {other: [rivals.override(value)] for other, value in rivals.also_shown.items()}
    arms = {**rivals.arms, **shown, name: own}
    surroundings = [f"model={preset}", "model.n_layer=1", "model.match=width", *rivals.surroundings]
    models = {arm: load_config([*surroundings, *overrides]).model for arm, overrides in arms.items()}
    shares = {arm: cost(model).breakdown[component] for arm, model in models.items()}
    reference, first = models[rivals.baseline], shares[rivals.baseline]
    title = f"One block of model={preset}: its {component} (D = {reference.n_embd}, T = {reference.block_size})"
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    table.add_column("")
    table.add_column("parameters", justify="right")
    table.add_column("FLOPs/token, forward", justify="right")
    if component == "feedforward":
        table.add_column("width at equal parameters", justify="right")
    for arm, share in shares.items():
        cells = [_beside(share[key], first[key]) for key in ("parameters", "forward_flops_per_token")]
        if component == "feedforward":
            width = matched_width(entry if arm == name else None, models[arm], reference)
            cells.append("cannot be matched" if width is None else f"{width:,}")
        table.add_row(escape(arm), *cells)
    return table


def matched_width(entry: Entry | None, model: ModelConfig, reference: ModelConfig) -> int | None:
    """The hidden width at which ``model`` has the parameters of ``reference``; None if its block settles its own.

    ``entry`` is the part in it that is being tried, if any: a gate that mixes with its input says so itself.
    """
    if entry is not None and getattr(entry.target, "square", False):
        return None
    try:
        return match_model(model, reference, "params").hidden
    except UserError:
        return None


def _beside(value: int, reference: int) -> str:
    """A number, and how it compares with the baseline's."""
    if value == reference or not reference:
        return f"{value:,}"
    return f"{value:,} ({value / reference - 1:+.1%})"
