"""Making the gates of a patch, before anything of the model is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gatewright.errors import UserError
from gatewright.model.initialise import initialise
from gatewright.parts.alpha.base import Alpha
from gatewright.parts.alpha.parse import make_alpha
from gatewright.parts.gates.forms import find_form
from gatewright.parts.gates.pagate import PaGate
from gatewright.parts.part import Dims
from gatewright.registry import create, split_spec
from gatewright.surgery.gated_activation import GatedActivation, identity_point
from gatewright.surgery.sites import Site, base_layer, linear_size


def build_gates(
    sites: Mapping[int, Site], gate: Any, form: str, alphas: Mapping[int, Any], *, preserve: bool, seed: int
) -> dict[int, GatedActivation]:
    """The gate of each site, ready to be installed. Arguments are those of `gatewright.patch`.

    All are laid out on the meta device first, so that every check comes before memory is taken, and the global random
    generator is never used. Raises `UserError` for what cannot be built.
    """
    name, knobs = split_spec("gate", gate)
    for key in ("alpha", "form"):
        if key in knobs:
            raise UserError(f"gate.{key}={knobs[key]!r}: say {key}= to patch, outside of gate")
    form = find_form(form).name
    shared: Alpha | None = None
    built: dict[int, GatedActivation] = {}
    with torch.device("meta"):
        for number, site in sites.items():
            dims = _dims(site, number)
            alpha = shared or make_alpha(alphas[number], dims)
            shared = alpha if alphas[number].get("per") == "model" else None
            made = create("gate", gate, dims, required=("alpha", "form"), alpha=alpha, form=form)
            if not isinstance(made, PaGate):
                raise UserError(f"gate '{name}' is no paGating unit: nothing lets it in by degrees")
            _check(made, site, preserve)
            projection = None
            if made.two_streams and site.value is None:
                projection = nn.Linear(dims.n_embd, dims.width, bias=dims.bias)
            built[number] = GatedActivation(
                site.activation, made, projection, gated_block=site.value is not None, path=site.path
            )
    if shared is not None:
        for gated in built.values():
            gated.share_alpha()
    _give_values(built, sites, seed)
    return built


def _dims(site: Site, number: int) -> Dims:
    layer = base_layer(site.into)
    if layer.weight.is_meta and hasattr(layer, "_hf_hook"):
        raise UserError(f"the weights of {site.holder_path} are offloaded; patch the model before dispatching it")
    size = linear_size(layer)
    assert size is not None
    return Dims(size[0], width=size[1], bias=getattr(layer, "bias", None) is not None, layer=number)


def _check(gate: PaGate, site: Site, preserve: bool) -> None:
    name, gated_block = gate.form.name, site.value is not None
    if gated_block and gate.form.square:
        raise UserError(f"form '{name}' has no place in a gated block, such as {site.holder_path}")
    if preserve and identity_point(gate, gated_block) is None:
        kind = "gated" if gated_block else "plain"
        raise UserError(
            f"form '{name}' cannot preserve a trained {kind} block: it is that block at no α; "
            "take form='preserve' or 'blend', or say preserve=False"
        )


def _give_values(built: Mapping[int, GatedActivation], sites: Mapping[int, Site], seed: int) -> None:
    """Memory on each block's device, in its dtype, and starting values.

    α stays in float32: in bf16 the steps of an optimizer are lost in the rounding of numbers near 0.5. An α that
    projects the input computes in the input's dtype.
    """
    new = nn.ModuleDict({str(number): gated.new_modules() for number, gated in built.items()})
    for number, gated in built.items():
        new_modules, weight = gated.new_modules(), base_layer(sites[number].into).weight
        dtype = weight.dtype if weight.is_floating_point() else torch.get_default_dtype()
        new_modules.to_empty(device=weight.device).to(dtype).train(sites[number].holder.training)
        if not list(gated.gate.alpha.children()):
            gated.gate.alpha.float()
        gated.training = sites[number].holder.training
    initialise(new, create("init", "fan_in", Dims(1)), seed)
