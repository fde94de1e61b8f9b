"""The mixture of experts as a part: cost, losses, reports, precision, copies, compilers, and mistakes."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import onnxruntime
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from gatewright.errors import UserError
from gatewright.parts.alpha.base import Alpha
from gatewright.parts.alpha.parse import make_alpha
from gatewright.parts.feedforward.moe import MoE
from gatewright.parts.feedforward.routing import router_z_loss
from gatewright.parts.part import Dims
from gatewright.registry import create, list_parts

MakeMoE = Callable[..., MoE]

EXPERTS = [name for name in list_parts("feedforward") if name != "moe"]
GATED = [name for name in EXPERTS if name.startswith("pa")]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def lean(moe: MoE, first: int, second: int) -> None:
    """Make the router send every positive input to these two experts."""
    with torch.no_grad():
        moe.router.projection.weight.zero_()
        moe.router.projection.weight[first] = 0.2
        moe.router.projection.weight[second] = 0.1


@pytest.mark.parametrize("expert", EXPERTS)
def test_every_kind_of_expert(make_moe: MakeMoE, expert: str) -> None:
    dropless = make_moe(expert=expert, dtype=torch.float64)
    roomy = make_moe(expert=expert, dtype=torch.float64, capacity_factor=2.0)
    x = draw(2, 9, 12, dtype=torch.float64)
    reference = dropless.reference(x)
    torch.testing.assert_close(dropless(x), reference, rtol=0, atol=1e-12)
    torch.testing.assert_close(roomy(x), reference, rtol=0, atol=1e-12)
    (dropless(x).square().sum() + dropless.aux_loss).backward()
    assert all(parameter.grad is not None for parameter in dropless.parameters())
    assert dropless.router.projection.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("expert", EXPERTS)
@pytest.mark.parametrize("capacity_factor", [None, 0.6, 1.3])
def test_cost_is_what_runs(make_moe: MakeMoE, expert: str, capacity_factor: float | None) -> None:
    moe = make_moe(expert=expert, capacity_factor=capacity_factor)
    with FlopCounterMode(display=False) as counter:
        moe(draw(3, 9, 12))
    assert 3 * moe.cost(9).flops == counter.get_total_flops()
    assert moe.cost(9).parameters == sum(p.numel() for p in moe.parameters())


def test_active_parameters_are_those_of_one_tokens_way(make_moe: MakeMoE) -> None:
    cost = make_moe(expert="swiglu").cost(9)
    expert = 3 * 12 * 20 + 20 + 20 + 12
    assert cost.parameters == 4 * 12 + 4 * expert
    assert cost.active == 4 * 12 + 2 * expert
    assert cost.flops == 9 * 2 * (4 * 12 + 2 * 3 * 12 * 20)


def test_an_alpha_of_the_whole_model_is_shared_and_counted_once(make_moe: MakeMoE) -> None:
    alpha = make_alpha("learnable", Dims(12))
    moe = make_moe(expert="paglu", context={"alpha": alpha})
    assert len({id(module) for module in moe.modules() if isinstance(module, Alpha)}) == 1
    assert moe.cost(9).parameters == sum(p.numel() for p in moe.parameters())
    own = make_moe(expert="paglu", context={"alpha": "learnable"})
    assert len({id(module) for module in own.modules() if isinstance(module, Alpha)}) == 4


def test_context_reaches_the_experts(make_moe: MakeMoE) -> None:
    moe = make_moe(
        expert="paunit", context={"activation": "relu2", "alpha": 0.3, "form": "blend", "gate_norm": "before"}
    )
    assert moe.label == "MoE4x2-paUnit:ReLU2(blend,GateNorm-before,α=0.3)"


def test_labels(make_moe: MakeMoE) -> None:
    assert make_moe(expert="swiglu", n_experts=8).label == "MoE8x2-SwiGLU"
    assert make_moe(top_k=1, normalise=False, capacity_factor=1.25).label == "MoE4x1@1.25-GELU"


def test_capacity_applies_to_training_only(make_moe: MakeMoE) -> None:
    moe = make_moe(capacity_factor=0.5)
    x = draw(2, 8, 12)
    assert not torch.allclose(moe(x), moe.reference(x))
    torch.testing.assert_close(moe.eval()(x), moe.reference(x))


@pytest.mark.parametrize(("capacity_factor", "capacity"), [(None, 10), (0.01, 1), (1.0, 5), (1.25, 7), (9.0, 10)])
def test_capacity(make_moe: MakeMoE, capacity_factor: float | None, capacity: int) -> None:
    assert make_moe(capacity_factor=capacity_factor).capacity(10) == capacity


def test_report_of_a_collapsed_router(make_moe: MakeMoE) -> None:
    moe = make_moe(capacity_factor=1.0, balance=0.1)
    lean(moe, 2, 0)
    x = draw(3, 8, 12).abs() + 0.5  # every token to experts 2 and 0, which take 4 of a sequence's 8
    y = moe(x)
    assert torch.equal(y[:, 4:], torch.zeros(3, 4, 12))
    assert y[:, :4].abs().sum(-1).gt(0).all()
    report = moe.report()
    assert report["expert_utilisation"] == pytest.approx(math.log(2) / math.log(4))
    assert report["max_load_share"] == 0.5
    assert report["dropped_tokens"] == 0.5
    assert report["dropped_choices"] == 0.5
    assert moe.aux_loss.item() > 0.1 * 1.5


def test_dropped_tokens_have_lost_all_their_choices(make_moe: MakeMoE) -> None:
    moe = make_moe(n_experts=3, capacity_factor=0.75)
    weight = torch.zeros(3, 12)
    weight[0, 0], weight[1, 1], weight[2, 2] = 3.0, 1.0, 1.0
    moe.router.projection.weight.data = weight
    x = torch.zeros(1, 4, 12)
    x[..., 0] = 1.0  # all tokens want expert 0 first, which takes 2 of the 4,
    x[0, torch.arange(4), torch.tensor([1, 1, 2, 1])] = 2.0  # and then expert 1, 1, 2 and 1
    y = moe(x)
    assert moe.capacity(4) == 2
    assert moe.report() == {
        "expert_utilisation": pytest.approx(-sum(p * math.log(p) for p in (4 / 8, 3 / 8, 1 / 8)) / math.log(3)),
        "max_load_share": 0.5,
        "dropped_tokens": 1 / 4,  # the last
        "dropped_choices": 3 / 8,  # both of the last, and expert 0 for the one before
    }
    assert y[0].abs().sum(-1).gt(0).tolist() == [True, True, True, False]


def test_even_load_gives_the_coefficient_and_full_utilisation(make_moe: MakeMoE) -> None:
    moe = make_moe(top_k=1, normalise=False, balance=0.02)
    moe.router.projection.weight.data = torch.eye(4, 12)
    moe(torch.eye(4, 12).repeat(2, 3, 1))  # each expert has as many tokens, and the same mean probability
    assert moe.aux_loss.item() == pytest.approx(0.02)
    assert moe.report() == {
        "expert_utilisation": pytest.approx(1.0), "max_load_share": 0.25, "dropped_tokens": 0.0, "dropped_choices": 0.0,
    }  # fmt: skip


def test_report_is_of_the_last_training_batch(make_moe: MakeMoE) -> None:
    moe = make_moe()
    assert moe.report() == {}
    moe(draw(2, 8, 12))
    seen = moe.report()
    moe.eval()(draw(2, 8, 12, seed=1))
    assert moe.report() == seen
    moe.train()(draw(2, 8, 12, seed=1))
    assert moe.report() != seen
    moe.reset()
    assert moe.report() == {}


def test_losses_of_the_router(make_moe: MakeMoE) -> None:
    x = draw(2, 8, 12)

    def loss(balance: float, z: float) -> float:
        moe = make_moe(balance=balance, z_loss=z)
        moe(x)
        return moe.aux_loss.item()

    assert loss(0.0, 0.0) == 0.0
    assert loss(0.03, 0.0) == pytest.approx(3 * loss(0.01, 0.0))
    moe = make_moe()
    z = router_z_loss(moe.router(x).logits).item()
    assert loss(0.03, 0.2) == pytest.approx(3 * loss(0.01, 0.0) + 0.2 * z)
    moe(x)
    moe.eval()(x)
    assert moe.aux_loss is None


def test_balance_loss_balances(make_moe: MakeMoE) -> None:
    moe = make_moe()
    lean(moe, 2, 0)
    optimizer = torch.optim.Adam(moe.router.parameters(), lr=0.03)
    for step in range(60):
        moe(draw(4, 16, 12, seed=step) + 1)
        if step == 0:
            assert moe.report()["expert_utilisation"] < 0.7
        optimizer.zero_grad()
        moe.aux_loss.backward()
        optimizer.step()
    assert moe.report()["expert_utilisation"] > 0.95


def test_gradcheck(make_moe: MakeMoE) -> None:
    x = draw(1, 4, 12, dtype=torch.float64).requires_grad_()
    for capacity_factor in (None, 0.8):
        moe = make_moe(expert="paswishu", capacity_factor=capacity_factor, hidden=6, dtype=torch.float64)
        weights = [moe.router.projection.weight, moe.experts[0].up_proj.weight]

        def forward(*inputs: torch.Tensor, moe: MoE = moe) -> torch.Tensor:
            y = moe(inputs[0])
            return torch.cat([y.flatten(), moe.aux_loss[None]])

        assert torch.autograd.gradcheck(forward, (x, *weights))


@pytest.mark.parametrize("capacity_factor", [None, 1.0])
def test_low_precision(make_moe: MakeMoE, capacity_factor: float | None) -> None:
    moe = make_moe(expert="swiglu", capacity_factor=capacity_factor)
    x = draw(2, 8, 12)
    exact = moe(x)
    with torch.autocast("cpu", torch.bfloat16):
        lowered = moe(x)
    assert lowered.dtype == torch.bfloat16  # as any feed-forward under autocast
    assert moe.aux_loss.dtype == torch.float32
    assert (lowered - exact).abs().max() < 0.03 * exact.abs().max()
    assert moe.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    assert sum(moe.load.tolist()) == 2 * 8 * 2


def test_copies_after_training(make_moe: MakeMoE) -> None:
    moe = make_moe()
    x = draw(2, 8, 12)
    y = moe(x)
    for twin in (copy.deepcopy(moe), pickle.loads(pickle.dumps(moe))):
        assert twin.aux_loss is None
        assert twin.report() == moe.report()
        assert torch.equal(twin(x), y)
    assert moe.aux_loss is not None


def test_state_is_the_weights_alone(make_moe: MakeMoE) -> None:
    layers = ("up_proj.weight", "up_proj.bias", "down_proj.weight", "down_proj.bias")
    expected = ["router.projection.weight", *(f"experts.{e}.{layer}" for e in range(2) for layer in layers)]
    assert list(make_moe(n_experts=2).state_dict()) == expected


@pytest.mark.parametrize("capacity_factor", [None, 1.0])
def test_counts_for_the_log_are_not_read_back(capacity_factor: float | None) -> None:
    """Tensors without data refuse to be read, and only the sorted path reads its sizes."""
    spec = {"name": "moe", "capacity_factor": capacity_factor}
    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        moe = create("feedforward", spec, Dims(12), hidden=20)
        moe(torch.randn(3, 9, 12))
    assert counter.get_total_flops() == 3 * moe.cost(9).flops


@pytest.mark.parametrize("capacity_factor", [0.7, None])
def test_compiles_in_one_graph(make_moe: MakeMoE, capacity_factor: float | None) -> None:
    eager = make_moe(expert="pagelu", n_experts=3, capacity_factor=capacity_factor).double()  # projections are joined
    twin = copy.deepcopy(eager)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    for tokens in (8, 11):  # the second length makes shapes symbolic
        x = draw(2, tokens, 12, seed=tokens).double()
        y, expected = compiled(x), eager(x)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(twin.aux_loss, eager.aux_loss)
        assert twin.report() == eager.report()
    for model, out in ((twin, y), (eager, expected)):
        (out.square().sum() + model.aux_loss).backward()
    for ours, theirs in zip(twin.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(("capacity_factor", "training"), [(0.7, True), (None, False)])
@pytest.mark.filterwarnings("ignore:Exporting a model while it is in training mode")
def test_onnx(make_moe: MakeMoE, capacity_factor: float | None, training: bool) -> None:
    moe = make_moe(expert="swiglu", capacity_factor=capacity_factor).train(training)
    program = torch.onnx.export(moe, (draw(2, 8, 12),), dynamo=True, verbose=False)
    assert (moe.aux_loss, moe.report()) == (None, {})  # exporting is no training
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    x = draw(2, 8, 12, seed=1)  # routed differently from what was exported with
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), moe(x).detach(), rtol=0, atol=1e-5)


def test_traces_without_freezing_the_load(make_moe: MakeMoE) -> None:
    moe = make_moe(expert="swiglu").eval()
    traced = torch.jit.trace(moe, (draw(2, 8, 12),))
    x = draw(2, 8, 12, seed=1)
    torch.testing.assert_close(traced(x), moe(x))


@pytest.mark.parametrize("expert", GATED)
def test_experts_take_any_alpha(make_moe: MakeMoE, expert: str) -> None:
    moe = make_moe(expert=expert, context={"alpha": "learnable_0.3"})
    moe(draw(2, 8, 12)).square().sum().backward()
    alphas = [module for module in moe.modules() if isinstance(module, Alpha)]
    assert [alpha.mean().item() for alpha in alphas] == pytest.approx([0.3] * 4)
    assert all(alpha.raw.grad.abs() > 0 for alpha in alphas)


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"n_experts": 4, "top_k": 5}, "moe.top_k=5"),
        ({"top_k": 0}, "moe.top_k=0"),
        ({"n_experts": 1, "top_k": 1}, "moe.n_experts=1"),
        ({"top_k": 1}, "moe.normalise=false"),
        ({"capacity_factor": -1.0}, "moe.capacity_factor=-1.0"),
        ({"capacity_factor": 0.0}, "moe.capacity_factor=0.0"),
        ({"capacity_factor": math.nan}, "capacity_factor=nan"),
        ({"balance": -0.1}, "moe.balance=-0.1"),
        ({"z_loss": math.inf}, "z_loss=inf"),
        ({"expert": "moe"}, "moe.expert=moe"),
        ({"expert": {"name": "moe", "n_experts": 2}}, "moe.expert=moe"),
        ({"expert": "swiglo"}, "did you mean 'swiglu'"),
        ({"expert": {"name": "swiglu", "hidden": 8}}, "moe.expert.hidden"),
        ({"expert": 3}, "moe.expert=3"),
        ({"experts": 8}, "did you mean"),
        ({"n_experts": 2.5}, "n_experts=2.5"),
    ],
)
def test_mistakes(make_moe: MakeMoE, knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_moe(**knobs)


@pytest.mark.parametrize("key", ["alpha", "form", "gate_norm"])
def test_nothing_asked_of_the_experts_is_ignored(make_moe: MakeMoE, key: str) -> None:
    value = {"alpha": 0.5, "form": "blend", "gate_norm": "before"}[key]
    for expert in ("standard", "swiglu"):
        with pytest.raises(UserError, match=f"has no {key}"):
            make_moe(expert=expert, context={key: value})
