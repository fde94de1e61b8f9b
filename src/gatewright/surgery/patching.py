"""Gates into trained models, and out again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from gatewright.errors import UserError
from gatewright.parts.alpha.parse import parse_alpha
from gatewright.surgery.build import build_gates
from gatewright.surgery.families import Layout
from gatewright.surgery.gated_activation import gated_activations
from gatewright.surgery.record import Record
from gatewright.surgery.report import Report, count_parameters, make_report
from gatewright.surgery.sites import Site, base_layer, find_sites

Layers = Sequence[int] | Callable[[str], bool] | None


def patch(
    model: nn.Module,
    gate: str | Mapping[str, Any] = "paglu",
    form: str = "preserve",
    alpha: Any = 0.0,
    layers: Layers = None,
    *,
    path: str | None = None,
    layout: Layout | Mapping[str, str] | None = None,
    preserve: bool = True,
    seed: int = 0,
) -> Report:
    """Put a gate into the feed-forward blocks of a trained model, in place; `GatedActivation` has the formulas.

    - ``gate``: a paGating unit by name, or a mapping with ``name`` and knobs such as ``gate_norm``.
    - ``form``: ``preserve``, ``blend``, ``gate``, ``skip``, or ``self_…`` for a plain block without a gate projection.
    - ``alpha``: any way of writing an α, or a list with one for each block that is patched.
    - ``layers``: numbers of the blocks to patch, counted from 0 in the model's order (an encoder's before a decoder's),
      or a function that says of a block's path whether to patch it; all if left out.
    - ``path``, ``layout``: where the blocks of an unknown family are; see `find_sites` and `Layout`.
    - ``preserve``: refuse a form in which the block is the trained one at no α.
    - ``seed``: of the new projections. They are drawn from N(0, 1/fan_in), each by its block's number.

    No trained weight is copied, changed or renamed. What is new has its block's device and dtype; α is kept in float32.
    Raises `UserError`, with the model as it was, for whatever cannot be done.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"patch takes a model, as from_pretrained gives it, not {model!r}")
    if taken := next(gated_activations(model), None):
        raise UserError(f"the model is patched already, at {taken.path}; gatewright.unpatch takes its gates out")
    sites = find_sites(model, path, layout)
    chosen = {number: sites[number] for number in _chosen(sites, layers)}
    specs = dict(zip(chosen, _alphas(alpha, len(chosen)), strict=True))
    gates = build_gates(chosen, gate, form, specs, preserve=preserve, seed=seed)
    parameters = count_parameters(model)
    for number, site in chosen.items():
        gates[number].install(site.holder, site.name, base_layer(site.into))
    Record(
        gate=gate if isinstance(gate, str) else dict(gate),
        form=form,
        alpha=list(specs.values()),
        frozen=[None] * len(specs),
        layers=list(chosen),
        modules=[site.path for site in chosen.values()],
        path=path,
        layout=layout,
    ).write(model)
    return make_report(model, len(sites), [(site, gates[number]) for number, site in chosen.items()], parameters)


def unpatch(model: nn.Module) -> list[str]:
    """Take the gates out: the blocks are what they were before `patch`, with the weights they have by now.

    Returns the paths of the modules that have their activation back. Raises `UserError` if there was no gate.
    """
    found = list(gated_activations(model))
    if not found:
        raise UserError(f"this {type(model).__name__} is not patched: it has no gates to take out")
    for place in found:
        place.gated.remove(place.holder, place.name)
    Record.erase(model)
    return [place.path for place in found]


def _chosen(sites: list[Site], layers: Layers) -> list[int]:
    """The numbers of the blocks to patch, in the model's order."""
    if layers is None:
        return list(range(len(sites)))
    if callable(layers):
        chosen = [number for number, site in enumerate(sites) if layers(site.holder_path)]
        if not chosen:
            raise UserError(f"layers: the function says no to all blocks, such as {sites[0].holder_path}")
        return chosen
    if not isinstance(layers, (list, tuple, range)) or not layers:
        raise UserError(f"layers={layers!r}: expected a list of block numbers, such as [0, 1], or a function of a path")
    for number in layers:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(sites):
            raise UserError(f"layers: no block {number!r}; the model's {len(sites)} are numbered from 0")
    if len(set(layers)) < len(layers):
        raise UserError(f"layers={list(layers)}: a block is named twice")
    return sorted(layers)


def _alphas(alpha: Any, blocks: int) -> list[dict[str, Any]]:
    """The specification of each block's α."""
    if not isinstance(alpha, (list, tuple)):
        return [parse_alpha(alpha)] * blocks
    if len(alpha) != blocks:
        raise UserError(f"alpha has {len(alpha)} entries for {blocks} feed-forward blocks")
    specs = [parse_alpha(each) for each in alpha]
    if any(spec.get("per") == "model" for spec in specs) and any(spec != specs[0] for spec in specs):
        raise UserError("alpha: per=model is one α for all blocks; a list cannot have others beside it")
    return specs
