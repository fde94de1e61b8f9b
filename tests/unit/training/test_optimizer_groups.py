"""Which parameter decays, which has its own learning rate, which goes to Muon; and the optimizer's memory by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gatewright.config import ModelConfig, TrainConfig
from gatewright.errors import RunError
from gatewright.model.build import build
from gatewright.parts.alpha.base import Alpha
from gatewright.training.optimizer import Optimizers, parameter_groups

CPU = torch.device("cpu")


def model(**options: Any) -> nn.Module:
    sizes: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "vocab_size": 40}
    gated = {"feedforward": "paglu", "activation": None, "alpha": "learnable"}
    return build(ModelConfig(**{**sizes, **gated, **options}))


def names(network: nn.Module, config: TrainConfig) -> dict[str, set[str]]:
    return {group.name: set(group.parameters) for group in parameter_groups(network, config)}


def alpha_names(network: nn.Module) -> set[str]:
    return {
        f"{prefix}.{name}"
        for prefix, module in network.named_modules()
        if isinstance(module, Alpha)
        for name, _ in module.named_parameters()
    }


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("tie_weights", [True, False])
def test_every_parameter_is_in_exactly_one_group(optimizer: str, tie_weights: bool) -> None:
    network = model(tie_weights=tie_weights)
    groups = parameter_groups(network, TrainConfig(optimizer=optimizer))  # type: ignore[arg-type]
    listed = [id(parameter) for group in groups for parameter in group.parameters.values()]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(parameter) for parameter in network.parameters()}
    for group in groups:
        for name, parameter in group.parameters.items():
            assert network.get_parameter(name) is parameter


def test_norms_biases_and_alpha_do_not_decay_and_matrices_do() -> None:
    network = model()
    groups = names(network, TrainConfig())
    assert groups["alpha"] == alpha_names(network) != set()
    assert {name for name in groups["no_decay"] if "bias" in name or "norm" in name} == groups["no_decay"]
    assert groups["no_decay"] == {
        name for name, parameter in network.named_parameters() if parameter.ndim < 2 and name not in groups["alpha"]
    }
    assert "embedding.weight" in groups["decay"]
    by_name = {group.name: group for group in parameter_groups(network, TrainConfig(weight_decay=0.3))}
    assert {name: group.weight_decay for name, group in by_name.items()} == {"decay": 0.3, "no_decay": 0, "alpha": 0}


def test_a_module_can_opt_out_of_decay() -> None:
    class Table(nn.Module):
        no_weight_decay = True

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(3, 3))

    network = nn.Sequential(nn.Linear(3, 3, bias=False), Table())
    assert names(network, TrainConfig()) == {"decay": {"0.weight"}, "no_decay": {"1.table"}}


def test_frozen_parameters_are_left_out() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[0].requires_grad_(False)
    assert names(network, TrainConfig()) == {"decay": {"1.weight"}, "no_decay": {"1.bias"}}


def test_alpha_has_a_learning_rate_of_its_own_and_the_schedule_multiplies_all() -> None:
    network = model()
    optimizers = Optimizers(network, TrainConfig(learning_rate=1e-3, alpha_learning_rate=1e-2), CPU)
    optimizers.set_learning_rate(0.5)
    rates = {group["name"]: group["lr"] for optimizer in optimizers.optimizers for group in optimizer.param_groups}
    assert rates == {"decay": 5e-4, "no_decay": 5e-4, "alpha": 5e-3}
    optimizers.set_learning_rate(0.1)  # of the peak, not of what was set before
    assert optimizers.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-4)
    default = Optimizers(model(), TrainConfig(learning_rate=1e-3), CPU)
    assert {group.learning_rate for group in default.groups} == {1e-3}


def test_alpha_learning_rate_zero_holds_alpha_still() -> None:
    network = model()
    optimizers = Optimizers(network, TrainConfig(alpha_learning_rate=0.0), CPU)
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    ids = torch.arange(8)[None]
    network(ids, targets=ids).loss.backward()
    optimizers.set_learning_rate(1.0)
    optimizers.optimizers[0].step()
    moved = {name for name, parameter in network.named_parameters() if not parameter.equal(before[name])}
    assert not moved & alpha_names(network)
    assert "embedding.weight" in moved


@pytest.mark.parametrize("tie_weights", [True, False])
def test_muon_gets_hidden_matrices_only(tie_weights: bool) -> None:
    network = model(tie_weights=tie_weights)
    groups = names(network, TrainConfig(optimizer="muon"))
    linears = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    assert groups["muon_decay"] == linears - {"head.weight"}
    assert groups["alpha"] == alpha_names(network)
    assert "embedding.weight" in groups["decay"]
    assert ("head.weight" in groups["decay"]) != tie_weights
    kinds = [type(one) for one in Optimizers(network, TrainConfig(optimizer="muon"), CPU).optimizers]
    assert kinds == [torch.optim.AdamW, torch.optim.Muon]


def trained(optimizer: str) -> tuple[nn.Module, Optimizers]:
    network = model()
    optimizers = Optimizers(network, TrainConfig(optimizer=optimizer), CPU)  # type: ignore[arg-type]
    for step in range(3):
        update(network, optimizers, step)
    return network, optimizers


def update(network: nn.Module, optimizers: Optimizers, step: int) -> None:
    ids = torch.randint(0, 40, (2, 8), generator=torch.Generator().manual_seed(step))
    optimizers.zero_grad()
    network(ids, targets=ids.roll(-1, 1)).loss.backward()
    optimizers.set_learning_rate(1.0)
    for optimizer in optimizers.optimizers:
        optimizer.step()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_memory_by_name_restores_the_optimizer_exactly(optimizer: str) -> None:
    network, optimizers = trained(optimizer)
    tensors = {name: tensor.clone() for name, tensor in optimizers.state_tensors().items()}
    assert "exp_avg/embedding.weight" in tensors
    assert any(name.startswith("momentum_buffer/") for name in tensors) == (optimizer == "muon")

    other = model()
    other.load_state_dict(network.state_dict())
    restored = Optimizers(other, TrainConfig(optimizer=optimizer), CPU)  # type: ignore[arg-type]
    restored.load_state_tensors(tensors)
    for step in (3, 4):
        update(network, optimizers, step)
        update(other, restored, step)
    assert all(a.equal(b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_memory_of_another_model_is_refused() -> None:
    _, optimizers = trained("adamw")
    other = Optimizers(model(n_layer=1), TrainConfig(), CPU)
    with pytest.raises(RunError, match=r"does not belong to this model, which has no parameter 'blocks.1"):
        other.load_state_tensors(optimizers.state_tensors())


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e3])
def test_clipping_is_that_of_torch_and_leaves_clipped_gradients(algorithm: Any, limit: float) -> None:
    ours, theirs = (model() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    both = [Optimizers(network, TrainConfig(optimizer=algorithm), CPU) for network in (ours, theirs)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for mine, other in zip(both[0].parameters, both[1].parameters, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        norm = nn.utils.get_total_norm([p.grad for p in both[0].parameters if p.grad is not None])
        assert (norm < limit) == (limit == 1e3)
        both[0].clip(limit, norm)
        nn.utils.clip_grads_with_norm_(both[1].parameters, limit, norm)
        for optimizer in (*both[0].optimizers, *both[1].optimizers):
            optimizer.step()
    for mine, other in zip(both[0].parameters, both[1].parameters, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=0.0)
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
