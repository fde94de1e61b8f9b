"""Gates in tiny random models of every family: bit for bit the trained model at α = 0, another one elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from surgery_models import SUBJECTS, TOKENS, Subject, ids, logits
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import gatewright as gw
from gatewright.surgery import FAMILIES, alphas
from gatewright.surgery.gated_activation import GatedActivation
from gatewright.surgery.sites import find_sites

FLOAT_AND_BF16 = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bf16"])
AT_ZERO = {"name": "learnable", "start": 0.0, "range": "clamp"}
"""A learnable α that starts at the trained model."""


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> Subject:
    return SUBJECTS[request.param]


def test_there_is_a_model_of_every_family() -> None:
    assert {subject.family for subject in SUBJECTS.values()} == set(FAMILIES)


@FLOAT_AND_BF16
def test_nothing_changes_at_alpha_zero_and_something_at_one_half(subject: Subject, dtype: torch.dtype) -> None:
    model, inputs = subject.build(dtype), subject.inputs(dtype)
    trained = logits(model, inputs)
    assert trained.isfinite().all()
    for form in ("preserve", "blend", "self"):
        for alpha in (0.0, AT_ZERO, {"name": "learnable", "start": 0.0, "range": "clamp", "per": "channel"}):
            assert gw.patch(model, form=form, alpha=alpha).unchanged
            assert torch.equal(logits(model, inputs), trained)
            assert gw.unpatch(model)
        report = gw.patch(model, form=form, alpha=0.5)
        assert not report.unchanged
        assert report.identity == 0
        assert (logits(model, inputs) - trained).abs().max() > 1e-2 * trained.abs().max()
        gw.unpatch(model)
        assert torch.equal(logits(model, inputs), trained)


def test_every_unit_leaves_the_trained_model_alone_at_alpha_zero() -> None:
    for name in ("gpt2", "llama"):
        subject = SUBJECTS[name]
        model = subject.build()
        trained = logits(model)
        for unit in ("pareglu", "pagelu", "pamishu", "pasilu", "paswishu", "pagtu", "paunit"):
            found = []
            for spec in (unit, {"name": unit, "gate_norm": "before"}):
                gw.patch(model, spec, alpha=0.0)
                assert torch.equal(logits(model), trained), (name, spec)
                gw.unpatch(model)
                gw.patch(model, spec, alpha=0.7)
                found.append(logits(model))
                gw.unpatch(model)
            assert not torch.equal(*found)


def test_dropout_stays_where_it_was(subject: Subject) -> None:
    model, inputs = subject.build().train(), subject.inputs()
    torch.manual_seed(3)
    trained = logits(model, inputs)
    gw.patch(model)
    torch.manual_seed(3)
    assert torch.equal(logits(model, inputs), trained)
    assert all(module.training for module in model.modules())
    if not subject.gated and subject.family != "vit":
        assert not torch.equal(logits(model, inputs), trained)  # there was dropout


@FLOAT_AND_BF16
def test_weights_are_the_same_objects_under_the_same_names(subject: Subject, dtype: torch.dtype) -> None:
    model = subject.build(dtype)
    model.get_input_embeddings().requires_grad_(False)
    before = {name: (parameter, parameter.requires_grad) for name, parameter in model.named_parameters()}
    modules, shown = {name: id(module) for name, module in model.named_modules()}, str(model)
    gw.patch(model, alpha=AT_ZERO)
    after = dict(model.named_parameters())
    assert all(after[name] is parameter for name, (parameter, _) in before.items())
    assert all(after[name].requires_grad is flag for name, (_, flag) in before.items())
    new = {name: parameter for name, parameter in after.items() if name not in before}
    assert all(parameter.requires_grad for parameter in new.values())
    assert {parameter.dtype for name, parameter in new.items() if "alpha" not in name} <= {dtype}
    assert {parameter.dtype for name, parameter in new.items() if "alpha" in name} == {torch.float32}
    assert not any("gate_proj" in name for name in new) or not subject.gated
    assert not any(module.training for module in model.modules())
    gw.unpatch(model)
    assert {name: id(module) for name, module in model.named_modules()} == modules
    assert str(model) == shown
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert not hasattr(model.config, "gatewright_patch")


def test_gradients_reach_alpha_where_the_model_is_unchanged(subject: Subject) -> None:
    model, inputs = subject.build(), subject.inputs()
    gw.patch(model, alpha=AT_ZERO)
    model(**inputs).logits.square().mean().backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if name.endswith("alpha.raw")}
    assert len(found) == subject.blocks
    assert all(gradient is not None and gradient.isfinite() and gradient != 0 for gradient in found.values())


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "bert", "vit", "bart"])
def test_gradient_of_alpha_is_the_slope_of_the_loss(name: str) -> None:
    """Against differences on the inner side of 0, in the families whose norms work in float64 as well."""
    subject = SUBJECTS[name]
    model, inputs = subject.build(torch.float64), subject.inputs(torch.float64)
    gw.patch(model, alpha=AT_ZERO)
    found = [module for module in model.modules() if isinstance(module, GatedActivation)]
    raw = found[0].gate.alpha.raw

    def loss() -> torch.Tensor:
        return model(**inputs).logits.sin().mean()

    loss().backward()
    values = []
    for step in (0.0, 1e-4, 2e-4):
        raw.data.fill_(step)
        values.append(loss().item())
    slope = (-3 * values[0] + 4 * values[1] - values[2]) / 2e-4
    assert raw.grad.item() == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("form", ["preserve", "self"])
def test_the_report_counts_what_is_there(subject: Subject, form: str) -> None:
    model, inputs = subject.build(), subject.inputs()
    parameters = sum(p.numel() for p in model.parameters())
    layers = {id(m): m for site in find_sites(model) for m in (site.into, site.out, site.value) if m is not None}
    flops = forward_flops(model, inputs)
    report = gw.patch(model, form=form, alpha={"name": "learnable", "per": "channel"})
    assert report.families == [subject.family]
    assert len(report.modules) == report.found == subject.blocks
    assert list(alphas(model)) == report.modules
    assert report.parameters_before == parameters
    assert report.parameters_after == sum(p.numel() for p in model.parameters())
    assert report.flops_before == 2 * sum(layer.weight.numel() for layer in layers.values())
    tokens = 2 * (5 if subject.vision else TOKENS)
    assert report.flops_added * tokens == forward_flops(model, inputs) - flops
    hidden = 64 if subject.family == "gpt2" else 24
    projections = subject.blocks * hidden * (16 + (subject.family not in ("t5",)))
    new = 0 if subject.gated or form == "self" else projections
    assert report.parameters_added == new + subject.blocks * hidden
    assert (report.flops_added > 0) == (new > 0)
    shown = str(report)
    assert f"{report.parameters_before:,} → {report.parameters_after:,}" in shown
    assert f"{subject.blocks} of {subject.blocks}" in shown


def forward_flops(model: nn.Module, inputs: dict[str, Any]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", [name for name, subject in SUBJECTS.items() if subject.generates])
def test_generation_with_a_cache_equals_generation_without(name: str) -> None:
    model = SUBJECTS[name].build()
    gw.patch(model, alpha=0.5)
    with_gate, without_cache = (generate(model, use_cache=cached) for cached in (True, False))
    assert torch.equal(with_gate, without_cache)
    gw.unpatch(model)
    trained = generate(model)
    gw.patch(model)
    assert torch.equal(generate(model), trained)


def generate(model: Any, use_cache: bool = True) -> torch.Tensor:
    return model.generate(ids(2, 5), max_new_tokens=8, min_new_tokens=8, do_sample=False, use_cache=use_cache)
