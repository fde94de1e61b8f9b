"""The model as a whole: names, widths, initial weights, what labels and targets mean."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

import gatewright as gw
from gatewright.errors import UserError
from gatewright.model.cost import training_memory
from gatewright.registry import list_parts

GATED = sorted(set(list_parts("gate")))


def config(*overrides: str) -> gw.ModelConfig:
    return gw.load_config(list(overrides)).model


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["model=gpt2"], "12L-12H-768D-AbsPos-LN-GELU-PreNorm"),
        (["model=gpt2_postnorm"], "12L-12H-768D-AbsPos-LN-NB-GELU-PostNorm"),
        (["model=llama"], "12L-12H-768D-RoPE-RMS-SwiGLU-PreNorm"),
        (["model=llama3"], "12L-12H4KV-768D-RoPE-RMS-SwiGLU-PreNorm"),
        (["model=gpt2", "model.position=rope"], "12L-12H-768D-RoPE-LN-GELU-PreNorm"),
        (["model=small", "model.feedforward=paglu", "model.alpha=learnable"],
         "4L-4H-128D-RoPE-RMS-paGLU(α=learnable)-PreNorm"),
        (["model=small", "model.feedforward=pagelu", "model.gate={form: preserve, norm: after}", "model.alpha=0"],
         "4L-4H-128D-RoPE-RMS-paGELU(preserve,GateNorm-after,α=0)-PreNorm"),
        (["model=small", "model.position=[rope,rope,rope,none]", "model.norm_position=sandwich"],
         "4L-4H-128D-RoPE+NoPos-RMS-GELU-Sandwich"),
        (["model=small", "model.attention={name: sdpa, window: 64, qk_norm: rmsnorm, output_gate: head}"],
         "4L-4H-128D-RoPE-RMS-W64-QKNorm-HeadGate-GELU-PreNorm"),
    ],
)  # fmt: skip
def test_names(overrides: list[str], name: str) -> None:
    assert gw.architecture_name(config(*overrides)) == name


def test_gpt2_small_has_its_known_size() -> None:
    cost = gw.cost(config("model=gpt2"))
    assert cost.parameters == 124_439_808
    assert cost.flops_per_token == 3 * cost.forward_flops_per_token == 854_438_400
    assert cost.kv_cache_bytes_per_token() == 2 * 12 * 768 * 2


@pytest.mark.parametrize("by", ["params", "flops"])
@pytest.mark.parametrize("block", [*GATED, "moe"])
def test_a_matched_block_costs_what_the_plain_one_does_to_within_a_step(block: str, by: str) -> None:
    plain, step = config("model=small", f"model.match={by}"), 8
    spec = "{name: moe, n_experts: 4}" if block == "moe" else block
    matched = config("model=small", f"model.feedforward={spec}", f"model.match={by}")

    def measure(model: gw.ModelConfig) -> int:
        part = gw.cost(model).components["feedforward"]
        return part.parameters if by == "params" else part.flops

    model = gw.build(matched, device="meta")
    found = next(m.out_features for n, m in model.named_modules() if n.endswith("up_proj"))
    wider = dataclasses.replace(matched, hidden=found + step)
    one_step = measure(wider) - measure(dataclasses.replace(matched, hidden=found))
    assert found % step == 0
    assert abs(measure(matched) - measure(plain)) <= one_step / 2


def test_swiglu_without_biases_is_eight_thirds_wide_and_has_exactly_the_plain_parameters() -> None:
    plain, swiglu = (
        gw.build(config("model=llama", f"model.feedforward={f}"), device="meta") for f in ("standard", "swiglu")
    )
    assert swiglu.blocks[0].feedforward.down_proj.in_features == 2048  # type: ignore[union-attr]
    counts = [sum(p.numel() for p in m.blocks[0].feedforward.parameters()) for m in (plain, swiglu)]
    assert counts == [4_718_592, 4_718_592]


@pytest.mark.parametrize("by", ["params", "flops"])
def test_whole_models_are_matched(by: str) -> None:
    reference, other = config("model=small"), config("model=small", "model.feedforward=pagelu", "model.kv_heads=1")
    matched = gw.match_model(other, reference, by)  # type: ignore[arg-type]

    def measure(model: gw.ModelConfig) -> int:
        return gw.cost(model).parameters if by == "params" else gw.cost(model).flops_per_token

    assert matched.hidden is not None
    step = measure(dataclasses.replace(matched, hidden=matched.hidden + 8)) - measure(matched)
    assert abs(measure(matched) - measure(reference)) <= step / 2
    with pytest.raises(UserError, match="cannot match"):
        gw.match_model(config("model=small", "model.n_layer=12"), config("model=small", "model.n_layer=1"), "params")


def test_skip_takes_the_width_of_its_input() -> None:
    model = gw.build(config("model=small", "model.feedforward=paglu", "model.gate.form=skip"), device="meta")
    assert model.blocks[0].feedforward.down_proj.in_features == 128  # type: ignore[union-attr]


def test_arms_share_the_start_of_what_they_share() -> None:
    size = ["model=small", "model.n_layer=2"]
    plain, gated = gw.build(config(*size), seed=4), gw.build(config(*size, "model.feedforward=paglu"), seed=4)
    other = gw.build(config(*size), seed=5)
    ours, theirs = plain.state_dict(), gated.state_dict()
    shared = [name for name in ours if name in theirs and ours[name].shape == theirs[name].shape]
    assert {"embedding.weight", "blocks.1.attention.q_proj.weight"} <= set(shared)
    assert all(torch.equal(ours[name], theirs[name]) for name in shared)
    assert not torch.equal(ours["embedding.weight"], other.state_dict()["embedding.weight"])


def test_initial_weights_are_as_wide_as_the_rule_says() -> None:
    size = ["model.n_layer=2", "model.n_embd=256", "model.n_head=4", "model.block_size=16"]
    gpt2 = gw.build(config("model=gpt2", *size)).state_dict()
    assert gpt2["blocks.0.attention.q_proj.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    assert gpt2["blocks.0.feedforward.down_proj.weight"].std().item() == pytest.approx(0.01, rel=0.02)
    assert not gpt2["blocks.0.attention.q_proj.bias"].any()
    fan_in = gw.build(config("model=gpt2", *size, "model.init=fan_in")).state_dict()
    assert fan_in["blocks.0.attention.q_proj.weight"].std().item() == pytest.approx(1 / 16, rel=0.02)
    assert fan_in["blocks.0.feedforward.down_proj.weight"].std().item() == pytest.approx(1 / (2 * 32), rel=0.02)


def test_labels_are_shifted_and_targets_are_not() -> None:
    model = gw.build(config("model=small", "model.n_layer=1"))
    ids = torch.randint(1024, (2, 16), generator=torch.Generator().manual_seed(0))
    logits = model(ids).logits
    by_labels, by_targets = model(ids, labels=ids).loss, model(ids, targets=ids).loss
    torch.testing.assert_close(by_labels, F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()))
    torch.testing.assert_close(by_targets, F.cross_entropy(logits.flatten(0, 1), ids.flatten()))
    ids_with_gap = ids.clone()
    ids_with_gap[:, 5:] = -100
    total = model(ids, targets=ids_with_gap, reduction="sum").cross_entropy
    torch.testing.assert_close(
        total, F.cross_entropy(logits[:, :5].flatten(0, 1), ids[:, :5].flatten(), reduction="sum")
    )


def test_calls_that_make_no_sense_are_refused() -> None:
    model = gw.build(config("model=small", "model.n_layer=1", "model.block_size=8"))
    with pytest.raises(ValueError, match="block_size=8"):
        model(torch.zeros(1, 9, dtype=torch.long))
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model()
    ids = torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="either labels or targets"):
        model(ids, labels=ids, targets=ids)


def test_embeddings_may_be_given_in_place_of_tokens() -> None:
    model = gw.build(config("model=small", "model.n_layer=1"))
    ids = torch.arange(6)[None]
    assert torch.equal(model(ids).logits, model(inputs_embeds=model.embed(ids)).logits)


def test_a_shared_alpha_is_one_parameter() -> None:
    model = gw.build(config("model=small", "model.feedforward=paglu", "model.alpha={name: learnable, per: model}"))
    alphas = {id(p) for n, p in model.named_parameters(remove_duplicate=False) if "alpha" in n}
    assert len(alphas) == 1
    assert gw.cost(model).parameters == sum(p.numel() for p in model.parameters())
    assert model.alphas() == dict.fromkeys("0123", 0.5)


def test_training_memory_grows_as_it_must() -> None:
    small = training_memory(config("model=small"), 2)
    large = training_memory(config("model=small"), 4)
    assert (
        small["weights"]
        == small["gradients"]
        == small["optimizer"] / 2
        == 4 * gw.cost(config("model=small")).parameters
    )
    assert 1.9 < large["activations"] / small["activations"] <= 2.0
    assert training_memory(config("model=small"), 4, precision="bf16")["activations"] < large["activations"]
