"""What a patch did to a model, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from gatewright.parts.part import linear_cost
from gatewright.surgery.gated_activation import GatedActivation
from gatewright.surgery.sites import Site, linear_size


@dataclass(frozen=True)
class Report:
    """Modules that got a gate, and what the model costs before and after; prints as a small table.

    ``parameters_…`` are those of the whole model. ``flops_…`` are the FLOPs that one token takes in one forward pass of
    the patched blocks, counted as `torch.utils.flop_counter.FlopCounterMode` counts (the rest of the model is as it
    was). ``identity`` is the α at which the model is the one it was, ``unchanged`` whether it is so now.
    """

    families: list[str]
    found: int
    modules: list[str]
    gates: list[str]
    """The gate of each module, as architecture names write it."""
    form: str
    identity: float | None
    unchanged: bool
    parameters_before: int
    parameters_after: int
    flops_before: int
    flops_after: int

    @property
    def parameters_added(self) -> int:
        """New parameters: gate projections, and what the gates and α's hold themselves."""
        return self.parameters_after - self.parameters_before

    @property
    def flops_added(self) -> int:
        """Additional forward FLOPs per token."""
        return self.flops_after - self.flops_before

    def __str__(self) -> str:
        first, last = self.modules[0], self.modules[-1]
        where = first if first == last else f"{first} … {last}"
        if self.identity is None:
            same = "no; it is not at any α"
        else:
            same = f"{'yes, bit for bit' if self.unchanged else 'no'}; it is at α = {self.identity:g}"
        rows = {
            "patched": f"{len(self.modules)} of {self.found} feed-forward blocks ({', '.join(self.families)})",
            "modules": where,
            "gate": ", ".join(dict.fromkeys(self.gates)),
            "form": self.form,
            "parameters": _change(self.parameters_before, self.parameters_after),
            "FLOPs per token": f"{_change(self.flops_before, self.flops_after)} forward, in these blocks",
            "same function": same,
        }
        return "\n".join(f"{title:<16} {text}" for title, text in rows.items())


def count_parameters(model: nn.Module) -> int:
    """All parameters of ``model``, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def flops_per_token(site: Site) -> int:
    """Forward FLOPs per token of a block without its gate."""
    layers = [site.into, site.out, *([site.value] if site.value is not None else [])]
    sizes = [linear_size(layer) or (0, 0) for layer in layers]
    return sum(2 * wide * high for wide, high in sizes)


def gate_flops_per_token(gated: GatedActivation) -> int:
    """Forward FLOPs per token that a gate adds: its projection, and an α that projects the input."""
    projection = 0 if gated.gate_proj is None else linear_cost(gated.gate_proj, tokens=1).flops
    return projection + gated.gate.cost(tokens=1).flops


def make_report(
    model: nn.Module, found: int, patched: Sequence[tuple[Site, GatedActivation]], parameters_before: int
) -> Report:
    """The report on ``model`` after the ``patched`` of its ``found`` blocks got their gates."""
    sites, gates = zip(*patched, strict=True)
    identities = {gated.identity for gated in gates}
    flops = sum(flops_per_token(site) for site in sites)
    return Report(
        families=sorted({site.family for site in sites}),
        found=found,
        modules=[site.holder_path for site in sites],
        gates=[gated.gate.label for gated in gates],
        form=gates[0].gate.form.name,
        identity=identities.pop() if len(identities) == 1 else None,
        unchanged=all(gated.at(gated.identity) for gated in gates),
        parameters_before=parameters_before,
        parameters_after=count_parameters(model),
        flops_before=flops,
        flops_after=flops + sum(gate_flops_per_token(gated) for gated in gates),
    )


def _change(before: int, after: int) -> str:
    share = f" (+{(after - before) / before:.1%})" if after != before else " (none added)"
    return f"{before:,} → {after:,}{share}"
