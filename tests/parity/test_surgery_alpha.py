"""The formulas of gates in trained blocks, written out, and every kind of α in them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from surgery_models import gpt2, ids, llama, logits
from torch import Tensor, nn

import gatewright as gw
from gatewright.errors import UserError
from gatewright.parts.alpha.base import Alpha
from gatewright.surgery import alpha_parameters, alphas, parameter_groups, train_only_alpha

D, H = 16, 64
WIDE = torch.float64


def x_of(*shape: int) -> Tensor:
    return torch.randn(*shape, D, generator=torch.Generator().manual_seed(4), dtype=WIDE)


PSI = {"paglu": torch.sigmoid, "pagelu": F.gelu, "pagtu": torch.tanh, "pareglu": F.relu}


@pytest.mark.parametrize("unit", PSI)
@pytest.mark.parametrize("form", ["preserve", "blend", "gate", "self_preserve", "self_blend", "self_gate"])
def test_plain_block(form: str, unit: str) -> None:
    model = gpt2(WIDE)
    gw.patch(model, unit, form, alpha=0.3, preserve=False)
    mlp, x, psi = model.transformer.h[1].mlp, x_of(2, 5), PSI[unit]
    a = x @ mlp.c_fc.weight + mlp.c_fc.bias
    b = a if form.startswith("self") else F.linear(x, mlp.act.gate_proj.weight, mlp.act.gate_proj.bias)
    phi = F.gelu(a, approximate="tanh")
    hidden = {
        "preserve": phi * (0.7 + 0.3 * psi(b)),
        "blend": 0.3 * psi(b) + 0.7 * phi,
        "gate": a * (0.3 * psi(b) + 0.7),
    }[form.removeprefix("self_")]
    expected = hidden @ mlp.c_proj.weight + mlp.c_proj.bias
    torch.testing.assert_close(mlp(x), expected, rtol=1e-6, atol=1e-6)  # α is a float32


@pytest.mark.parametrize("unit", PSI)
@pytest.mark.parametrize("form", ["preserve", "blend", "gate", "self_preserve"])
def test_gated_block(form: str, unit: str) -> None:
    model = llama(WIDE)
    report = gw.patch(model, unit, form, alpha=0.3)
    assert report.parameters_added == report.flops_added == 0 or unit == "paswishu"
    mlp, x, psi = model.model.layers[0].mlp, x_of(2, 5), PSI[unit]
    a, b = mlp.up_proj(x), mlp.gate_proj(x)
    gate = {
        "preserve": F.silu(b) * (0.7 + 0.3 * psi(b)),
        "blend": 0.3 * psi(b) + 0.7 * F.silu(b),
        "gate": 0.3 * F.silu(b) + 0.7,
    }[form.removeprefix("self_")]
    torch.testing.assert_close(mlp(x), mlp.down_proj(a * gate), rtol=1e-6, atol=1e-6)


def test_form_gate_of_a_gated_block_is_the_trained_one_at_alpha_one() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        model = llama(dtype)
        trained = logits(model)
        report = gw.patch(model, form="gate", alpha={"name": "learnable", "start": 1.0, "range": "clamp"})
        assert report.identity == 1
        assert report.unchanged
        assert torch.equal(logits(model), trained)
        gw.unpatch(model)
        assert not gw.patch(model, form="gate", alpha=0.0).unchanged
        assert not torch.equal(logits(model), trained)


def test_form_skip_in_a_square_block() -> None:
    model = gpt2(WIDE, n_inner=D)
    gw.patch(model, form="skip", alpha=0.3, preserve=False)
    mlp, x = model.transformer.h[0].mlp, x_of(3, 2)
    a, b = mlp.c_fc(x), mlp.act.gate_proj(x)
    expected = mlp.c_proj(0.3 * torch.sigmoid(b) * a + 0.7 * x)
    torch.testing.assert_close(mlp(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("measure", ["projection", "entropy", "confidence"])
@pytest.mark.parametrize("build", [gpt2, llama])
def test_input_dependent_alpha_sees_the_input_of_the_block(measure: str, build: Any) -> None:
    model = build(WIDE)
    gw.patch(model, alpha={"name": f"input_{measure}"})
    gates = [module for module in model.modules() if isinstance(module, Alpha)]
    seen: list[Tensor] = []
    for alpha in gates:
        alpha.register_forward_hook(lambda module, args, out: seen.extend([args[0], out]))
    blocks = [layer.mlp for layer in (model.transformer.h if build is gpt2 else model.model.layers)]
    given: list[Tensor] = []
    for block in blocks:
        block.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    tokens = ids(2, 7)
    model.train()
    model(tokens).logits.square().mean().backward()
    for x, (seen_x, alpha) in zip(given, zip(seen[::2], seen[1::2], strict=True), strict=True):
        assert torch.equal(seen_x, x)
        assert alpha.shape == (2, 7, 1)
        p = x.softmax(-1)
        expected = {
            "projection": torch.full((2, 7, 1), 0.5, dtype=WIDE),
            "entropy": -(p * p.log()).sum(-1, keepdim=True) / math.log(D),
            "confidence": (p.amax(-1, keepdim=True) - 1 / D) / (1 - 1 / D),
        }[measure]
        torch.testing.assert_close(alpha, expected)
    assert all(0 < value < 1 for value in alphas(model).values())
    if measure == "projection":
        gradients = [parameter.grad for parameter in alpha_parameters(model).values()]
        assert len(gradients) == 4
        assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


def test_alpha_by_block_by_channel_and_for_all() -> None:
    model = gpt2()
    gw.patch(model, alpha=[0.25, "learnable_0.75"])
    assert list(alphas(model).values()) == pytest.approx([0.25, 0.75])
    assert list(alpha_parameters(model)) == ["transformer.h.1.mlp.act.gate.alpha.raw"]
    gw.unpatch(model)

    gw.patch(model, alpha={"name": "learnable", "per": "channel", "start": 0.2})
    assert [p.shape for p in alpha_parameters(model).values()] == [(H,), (H,)]
    model(ids(2, 5)).logits.square().mean().backward()
    assert all(p.grad.count_nonzero() == H for p in alpha_parameters(model).values())
    mlp, x = model.transformer.h[0].mlp, torch.randn(3, D)
    with torch.no_grad():
        before = mlp(x)
        mlp.act.gate.alpha.raw[5] = 2.0
        hidden = F.gelu(mlp.c_fc(x), approximate="tanh")[:, 5:6]
        share = torch.sigmoid(torch.tensor(2.0)) - 0.2
        gate = torch.sigmoid(mlp.act.gate_proj(x))[:, 5:6]
        torch.testing.assert_close(mlp(x) - before, hidden * share * (gate - 1) * mlp.c_proj.weight[5])
    gw.unpatch(model)

    report = gw.patch(model, alpha={"name": "learnable", "per": "model"})
    assert report.parameters_added == 2 * (D + 1) * H + 1
    (shared,) = alpha_parameters(model).values()
    assert model.transformer.h[0].mlp.act.gate.alpha.raw is model.transformer.h[1].mlp.act.gate.alpha.raw is shared


def test_only_the_chosen_blocks_are_patched() -> None:
    model = gpt2(n_layer=4)
    report = gw.patch(model, layers=[3, 1], alpha=[0.1, 0.9])
    assert report.modules == ["transformer.h.1.mlp", "transformer.h.3.mlp"]
    assert report.found == 4
    assert list(alphas(model).values()) == pytest.approx([0.1, 0.9])
    drawn = model.transformer.h[3].mlp.act.gate_proj.weight.clone()
    gw.unpatch(model)
    gw.patch(model, layers=lambda path: path.endswith("3.mlp"))
    assert list(alphas(model)) == ["transformer.h.3.mlp"]
    assert torch.equal(model.transformer.h[3].mlp.act.gate_proj.weight, drawn)  # whichever others are patched
    gw.unpatch(model)
    gw.patch(model, seed=1)
    weights = [block.mlp.act.gate_proj.weight for block in model.transformer.h]
    assert not torch.equal(weights[3], drawn)
    assert not torch.equal(weights[0], weights[1])
    assert weights[0].std().item() == pytest.approx(1 / math.sqrt(D), rel=0.1)
    assert not model.transformer.h[0].mlp.act.gate_proj.bias.any()


def test_patching_draws_no_random_number_that_others_would_miss() -> None:
    model = gpt2()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    gw.patch(model, alpha="input_projection")
    assert torch.equal(torch.rand(3), expected)


def test_scheduled_alpha_is_stepped() -> None:
    model = gpt2()
    trained = logits(model)
    gw.patch(model, alpha=["scheduler_linear", {"name": "scheduled", "shape": "cosine", "start": 1.0, "end": 0.0}])
    for step, expected in ((0, [0, 1]), (25, [0.25, (1 + math.cos(math.pi / 4)) / 2]), (100, [1, 0]), (999, [1, 0])):
        gw.set_step(model, step, 100)
        assert list(alphas(model).values()) == pytest.approx(expected)
    gw.unpatch(model)
    gw.patch(model, alpha="scheduler_linear")
    assert torch.equal(logits(model), trained)
    gw.set_step(model, 1, 10)
    assert not torch.equal(logits(model), trained)
    own = gw.build(gw.load_config(["model=small", "model.feedforward=paglu", "model.alpha=scheduler_linear"]).model)
    gw.set_step(own, 1, 4)
    assert set(own.alphas().values()) == {0.25}


def test_alpha_has_a_learning_rate_of_its_own_and_no_decay() -> None:
    model = llama()
    gw.patch(model, alpha="learnable")
    model.get_input_embeddings().requires_grad_(False)
    groups = {group["name"]: group for group in parameter_groups(model, 1e-3, 1e-1, weight_decay=0.2)}
    rates = {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()}
    assert rates == {"decay": (1e-3, 0.2), "no_decay": (1e-3, 0.0), "alpha": (1e-1, 0.0)}
    assert groups["alpha"]["params"] == list(alpha_parameters(model).values())
    grouped = [parameter for group in groups.values() for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {parameter for parameter in model.parameters() if parameter.requires_grad}
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(list(groups.values()))
    model(ids(2, 5), labels=ids(2, 5)).loss.backward()
    optimizer.step()
    raw = "model.layers.0.mlp.act_fn.gate.alpha.raw"
    moved = (dict(model.named_parameters())[raw] - before[raw]).abs().item()
    assert moved == pytest.approx(1e-1, rel=1e-3)  # AdamW's first step is the learning rate
    with pytest.raises(UserError, match="learning_rate=-1"):
        parameter_groups(model, -1)


@pytest.mark.parametrize("build", [gpt2, llama])
def test_training_alpha_alone_leaves_every_other_tensor_as_it_is(build: Any) -> None:
    model = build(torch.bfloat16)
    gw.patch(model, alpha={"name": "learnable", "start": 0.0, "range": "clamp"})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    chosen = train_only_alpha(model)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(chosen)
    optimizer = torch.optim.AdamW(parameter_groups(model, 1e-2, weight_decay=0.1))
    # A target on the gated side, so that α has somewhere to go.
    wanted = build(torch.bfloat16)
    gw.patch(wanted, alpha=0.6)
    target = logits(wanted)
    losses = []
    for _ in range(20):
        loss = (model(ids(2, 10)).logits - target).float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after = model.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved == set(chosen)
    assert losses[-1] < 0.9 * losses[0]
    assert 0.05 < max(alphas(model).values()) <= 1


def test_there_must_be_an_alpha() -> None:
    model = gpt2()
    with pytest.raises(UserError, match="GPT2LMHeadModel has no α: it is not patched"):
        gw.set_step(model, 0, 10)
    gw.patch(model)
    for ask in (alpha_parameters, train_only_alpha):
        with pytest.raises(UserError, match="no α of this model is learned"):
            ask(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(UserError, match="max_steps=0: must be at least 1"):
        gw.set_step(model, 0, 0)
    with pytest.raises(UserError, match="step=-1: must not be negative"):
        gw.set_step(model, -1, 10)


def test_shared_blocks_are_patched_once_and_tied_weights_stay_tied() -> None:
    model = gpt2(n_layer=3)
    model.transformer.h[2].mlp = model.transformer.h[0].mlp
    trained = logits(model)
    report = gw.patch(model)
    assert report.modules == ["transformer.h.0.mlp", "transformer.h.1.mlp"]
    assert report.parameters_added == 2 * (D + 1) * H
    assert torch.equal(logits(model), trained)
    assert model.lm_head.weight is model.transformer.wte.weight
    gw.unpatch(model)
    assert torch.equal(logits(model), trained)
    assert gw.patch(model, path="transformer.h.*.mlp").modules == report.modules
    gw.unpatch(model)
    assert gw.patch(model, path="transformer.h.2.mlp").modules == ["transformer.h.2.mlp"]  # by its other name
    assert logits(model).isfinite().all()
    gw.unpatch(model)
    for block in model.transformer.h[1:]:
        block.mlp.c_fc = model.transformer.h[0].mlp.c_fc  # one projection, two activations behind it
    trained = logits(model)
    gw.patch(model, alpha=0.0)
    assert torch.equal(logits(model), trained)
    gw.unpatch(model)
    assert not any(module._forward_pre_hooks for module in model.modules())


class FunctionMLP(nn.Module):
    """A block of no known family, with a function for an activation."""

    def __init__(self, gated: bool = False) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(D, 24), nn.Linear(24, D)
        self.second = nn.Linear(D, 24) if gated else None
        self.squash = torch.tanh

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.squash(self.first(x))
        return self.last(hidden if self.second is None else hidden * self.second(x))


class Tower(nn.Module):
    def __init__(self, gated: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"ff": FunctionMLP(gated)}) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer["ff"](x)
        return x


@pytest.mark.parametrize("gated", [False, True])
def test_a_model_of_an_unknown_family_by_path_and_layout(gated: bool) -> None:
    torch.manual_seed(0)
    model, x = Tower(gated), torch.randn(2, 3, D)
    layout = {"into": "first", "activation": "squash", "out": "last"} | ({"value": "second"} if gated else {})
    trained = model(x)
    report = gw.patch(model, path="layers.*.ff", layout=layout)
    assert report.modules == ["layers.0.ff", "layers.1.ff"]
    assert report.parameters_added == (0 if gated else 2 * (D + 1) * 24)
    assert torch.equal(model(x), trained)
    gw.unpatch(model)
    assert torch.equal(model(x), trained)
    assert all(layer["ff"].squash is torch.tanh for layer in model.layers)
    gw.patch(model, path="layers.1.ff", layout=layout, alpha=0.5)
    block = model.layers[1]["ff"]
    first = block.first(x)
    b = first if gated else block.squash.gate_proj(x)
    expected = torch.tanh(first) * (0.5 + 0.5 * torch.sigmoid(b)) * (block.second(x) if gated else 1)
    torch.testing.assert_close(block(x), block.last(expected))


def test_a_path_whose_blocks_are_laid_out_like_a_known_family() -> None:
    model = llama()
    trained = logits(model)
    assert gw.patch(model, path="model.layers.*.mlp").parameters_added == 0
    assert torch.equal(logits(model), trained)
    gw.unpatch(model)
    assert gw.patch(gpt2(), path="transformer.h.1.mlp").modules == ["transformer.h.1.mlp"]
