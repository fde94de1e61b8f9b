"""The language model's own interface: losses, positions, lists by layer, α reports."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gatewright.config import ModelConfig
from gatewright.errors import UserError
from gatewright.model import LanguageModel, build
from gatewright.model.cost import cost, training_memory

BASE = ModelConfig(
    n_layer=2, n_head=4, n_embd=64, block_size=32, vocab_size=97, position="rope", activation=None, init="fan_in"
)


def model_with(**changes: Any) -> LanguageModel:
    return build(dataclasses.replace(BASE, **changes)).eval()


def tokens(*shape: int) -> Tensor:
    return torch.randint(97, shape, generator=torch.Generator().manual_seed(3))


def test_labels_are_the_tokens_and_targets_are_shifted_already() -> None:
    model, ids = model_with(), tokens(2, 10)
    targets = torch.cat((ids[:, 1:], torch.full((2, 1), -100)), dim=1)
    by_labels, by_targets = model(ids, labels=ids), model(ids, targets=targets)
    expected = F.cross_entropy(by_labels.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(by_labels.loss, expected)
    assert torch.equal(by_labels.loss, by_targets.loss)


def test_ignored_targets_are_not_scored() -> None:
    model, ids = model_with(), tokens(2, 10)
    targets = ids.clone()
    targets[:, 4:] = -100
    expected = F.cross_entropy(model(ids).logits[:, :4].flatten(0, 1), ids[:, :4].flatten())
    torch.testing.assert_close(model(ids, targets=targets).loss, expected)


def test_sum_is_the_mean_times_the_number_of_targets() -> None:
    model, ids = model_with(), tokens(2, 10)
    summed, mean = (model(ids, labels=ids, reduction=how).loss for how in ("sum", "mean"))
    torch.testing.assert_close(summed, mean * 2 * 9)


def test_without_targets_there_is_no_loss() -> None:
    out = model_with()(tokens(1, 4))
    assert out.logits.shape == (1, 4, 97)
    assert out.loss is None
    assert out.cross_entropy is None


def test_mistaken_calls() -> None:
    model, ids = model_with(), tokens(1, 4)
    with pytest.raises(ValueError, match="either labels or targets"):
        model(ids, labels=ids, targets=ids)
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model()
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model(ids, inputs_embeds=model.embed(ids))
    with pytest.raises(ValueError, match=r"33 tokens are more than model\.block_size=32"):
        model(tokens(1, 33))
    cache = model.new_cache(4)
    model(ids, cache=cache)
    with pytest.raises(ValueError, match="the cache holds 4 tokens, 5 are needed"):
        model(ids[:, :1], cache=cache)


@pytest.mark.parametrize("scale", ["none", "sqrt_dim"])
def test_embeddings_given_are_embeddings_computed(scale: str) -> None:
    model, ids = model_with(embedding_scale=scale), tokens(2, 6)
    assert torch.equal(model(inputs_embeds=model.embed(ids)).logits, model(ids).logits)
    factor = 8.0 if scale == "sqrt_dim" else 1.0
    assert torch.equal(model.embed(ids), factor * model.embedding.weight[ids])


def test_positions_can_be_given() -> None:
    model, ids = model_with(position="learned"), tokens(1, 6)
    assert torch.equal(model(ids, positions=torch.arange(6)[None]).logits, model(ids).logits)
    assert not torch.allclose(model(ids, positions=torch.arange(6)[None] + 3).logits, model(ids).logits)


def test_positions_by_layer_reach_their_layers() -> None:
    """[rope, none]: the first layer rotates, the second does not; equal specifications share one module."""
    model = model_with(position=["rope", "none"])
    assert [model.positions[i].label for i in model.position_of_layer] == ["RoPE", "NoPos"]
    ids = tokens(1, 8)
    assert not torch.equal(model(ids).logits, model_with(position="rope")(ids).logits)
    assert len(model_with(position=["rope", "rope"]).positions) == 1
    longer = model_with(position=["rope", {"name": "rope", "theta": 5e5}])
    assert [position.theta for position in longer.positions] == [10_000.0, 500_000.0]


def test_attention_and_feedforward_by_layer() -> None:
    model = model_with(
        attention=[{"name": "sdpa", "window": 4}, "manual"], feedforward=["standard", "swiglu"], activation="relu"
    )
    assert [block.attention.window for block in model.blocks] == [4, None]
    assert [block.feedforward.label for block in model.blocks] == ["ReLU", "SwiGLU"]


@pytest.mark.parametrize("key", ["position", "attention", "feedforward", "alpha"])
def test_lists_by_layer_have_an_entry_for_each(key: str) -> None:
    entry = {"position": "rope", "attention": "sdpa", "feedforward": "paglu", "alpha": 0.5}
    changes = {"feedforward": "paglu", key: [entry[key]] * 3}
    with pytest.raises(UserError, match=rf"model\.{key} has 3 entries for model\.n_layer=2"):
        model_with(**changes)


def test_alphas_by_layer_are_reported_and_stepped() -> None:
    model = model_with(feedforward="paglu", alpha=[0.25, "scheduler_linear"])
    assert model.alphas() == {"0": 0.25, "1": 0.0}
    model.set_step(3, 4)
    assert model.alphas() == {"0": 0.25, "1": 0.75}
    assert model.state_dict()["blocks.1.feedforward.gate.alpha.value"].item() == 0.75
    assert model_with().alphas() == {}


def test_a_scheduled_alpha_changes_what_is_computed() -> None:
    model, ids = model_with(feedforward="paglu", alpha="scheduler_cosine"), tokens(1, 8)
    logits = []
    for step in (0, 5, 10):
        model.set_step(step, 10)
        logits.append(model(ids).logits)
    assert torch.equal(logits[0], model_with(feedforward="paglu", alpha=0.0)(ids).logits)
    assert torch.equal(logits[2], model_with(feedforward="paglu", alpha=1.0)(ids).logits)
    assert not torch.equal(logits[1], logits[0])


def test_layers_without_alpha_in_a_list() -> None:
    model = model_with(feedforward=["standard", "paglu"], alpha=[None, 0.5], activation="gelu")
    assert model.alphas() == {"1": 0.5}


def test_one_alpha_for_all_layers_is_trained_by_all() -> None:
    shared = {"name": "learnable", "per": "model"}
    model = model_with(feedforward="paglu", alpha=shared)
    ids = tokens(2, 8)
    model(ids, labels=ids).loss.backward()
    alphas = {name for name, _ in model.named_parameters() if "alpha" in name}
    assert len(alphas) == 1
    assert cost(dataclasses.replace(BASE, feedforward="paglu", alpha=shared)).parameters == sum(
        p.numel() for p in model.parameters()
    )
    with pytest.raises(UserError, match="per=model is one α for all layers"):
        model_with(feedforward="paglu", alpha=[shared, 0.5])


def test_a_preserved_model_at_zero_has_the_plain_models_logits_bit_for_bit() -> None:
    plain = model_with(activation="gelu")
    gated = model_with(feedforward={"name": "pagelu", "form": "preserve"}, alpha=0.0, hidden=256)
    missing, unexpected = gated.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all("gate" in name for name in missing)
    ids = tokens(2, 16)
    assert torch.equal(gated(ids).logits, plain(ids).logits)


@pytest.mark.parametrize("where", ["attention_dropout", "residual_dropout", "embedding_dropout"])
def test_each_dropout_acts_in_training_only(where: str) -> None:
    model, ids = model_with(**{where: 0.5}), tokens(1, 16)
    plain = model_with()
    assert torch.equal(model(ids).logits, plain(ids).logits)
    assert not torch.allclose(model.train()(ids).logits, plain(ids).logits)


def test_dropout_is_what_the_others_default_to() -> None:
    model = model_with(dropout=0.3, attention_dropout=0.1)
    assert model.blocks[0].attention.dropout == 0.1
    assert model.blocks[0].attention_residual.dropout.p == 0.3
    assert model.embedding_dropout.p == 0.3


def test_tied_and_untied_heads() -> None:
    tied, untied = model_with(), model_with(tie_weights=False)
    assert tied.head is None
    assert untied.head.weight.shape == (97, 64)
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters()) == 97 * 64


def test_post_norm_has_no_last_norm() -> None:
    assert model_with(norm_position="post").norm is None
    assert model_with(norm_position="pre").norm is not None
    assert model_with(norm_position="sandwich").norm is not None


@pytest.mark.parametrize(("bias", "expected"), [(True, 6 * 2), (False, 0)])
def test_bias_is_in_every_linear_layer_or_none(bias: bool, expected: int) -> None:
    model = model_with(bias=bias)
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert len(linears) == 12
    assert sum(linear.bias is not None for linear in linears) == expected


def test_gpt2_initialisation_scales_residual_outputs_by_depth() -> None:
    model = build(dataclasses.replace(BASE, init="gpt2", n_embd=256, n_layer=8, activation="gelu"))
    block = model.blocks[3]
    for weight, std in (
        (block.attention.q_proj.weight, 0.02),
        (block.feedforward.up_proj.weight, 0.02),
        (block.attention.o_proj.weight, 0.02 / 4),
        (block.feedforward.down_proj.weight, 0.02 / 4),
        (model.embedding.weight, 0.02),
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.02)
    assert not block.attention.o_proj.bias.any()


def test_fan_in_initialisation_keeps_the_scale_of_a_signal() -> None:
    model = build(dataclasses.replace(BASE, n_embd=256, n_layer=2, activation="gelu"))
    block = model.blocks[1]
    assert block.attention.q_proj.weight.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert block.feedforward.down_proj.weight.std().item() == pytest.approx(1 / (2 * 32), rel=0.02)
    assert model.embedding.weight.std().item() == pytest.approx(1 / 16, rel=0.02)


def test_training_memory_grows_with_what_it_is_made_of() -> None:
    small, large = (training_memory(BASE, batch) for batch in (2, 4))
    parameters = cost(BASE).parameters
    assert small["weights"] == small["gradients"] == 4 * parameters
    assert small["optimizer"] == 8 * parameters
    assert large["activations"] == pytest.approx(2 * small["activations"], rel=0.05)
    # the logits alone, B · T · V float32, are kept for the loss
    assert small["activations"] > 4 * 2 * 32 * 97
    # autocast keeps half as much per token, and a copy of the weights besides
    halved = training_memory(BASE, 64, precision="bf16")["activations"] / training_memory(BASE, 64)["activations"]
    assert 0.45 < halved < 0.75


def test_cache_rows_can_be_dropped() -> None:
    model, ids = model_with(), tokens(3, 7)
    cache = model.new_cache()
    model(ids[:, :6], cache=cache)
    cache.keep_rows(torch.tensor([2, 0]))
    found = model(ids[[2, 0], 6:], cache=cache).logits
    torch.testing.assert_close(found, model(ids).logits[[2, 0], 6:], atol=1e-5, rtol=0)
