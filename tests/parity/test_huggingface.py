"""Our presets beside the Hugging Face classes they stand for, with the same random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import gatewright as gw
from gatewright.errors import UserError
from gatewright.hf.families import from_native, to_native
from gatewright.model import LanguageModel

TOLERANCE = 1e-4
SIZE = ["model.n_layer=3", "model.n_head=4", "model.n_embd=64", "model.block_size=48", "model.vocab_size=101"]
SMALL: dict[str, Any] = {"num_hidden_layers": 3, "hidden_size": 64, "vocab_size": 101, "num_attention_heads": 4}


@dataclass(frozen=True)
class Pair:
    """A family, our configuration of it, and theirs."""

    family: Any
    overrides: tuple[str, ...]
    peer: PreTrainedModel


def rope(theta: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta}


def pairs() -> dict[str, Pair]:
    """Fresh random models of every family, on the points where implementations are known to differ."""
    torch.manual_seed(0)
    llama = {**SMALL, "intermediate_size": 96, "max_position_embeddings": 48, "rms_norm_eps": 1e-6}
    qwen = {**llama, "num_key_value_heads": 2, "head_dim": 24}
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    hidden = ("model.hidden=96",)
    gpt2 = GPT2Config(n_layer=3, n_head=4, n_embd=64, n_positions=48, vocab_size=101, **no_dropout)
    found = {
        "gpt2": Pair("gpt2", ("model=gpt2",), GPT2LMHeadModel(gpt2)),
        "llama": Pair(
            "llama", ("model=llama", *hidden),
            LlamaForCausalLM(LlamaConfig(**llama, num_key_value_heads=4, tie_word_embeddings=False)),
        ),
        "llama with grouped queries, a long RoPE period, tied": Pair(
            "llama", ("model=llama", *hidden, "model.kv_heads=2", "model.position.theta=5e5", "model.tie_weights=true"),
            LlamaForCausalLM(
                LlamaConfig(**llama, num_key_value_heads=2, rope_parameters=rope(5e5), tie_word_embeddings=True)
            ),
        ),
        "llama with biases": Pair(
            "llama", ("model=llama", *hidden, "model.kv_heads=1", "model.bias=true"),
            LlamaForCausalLM(
                LlamaConfig(
                    **llama, num_key_value_heads=1, attention_bias=True, mlp_bias=True, tie_word_embeddings=False
                )
            ),
        ),
        "qwen3 with heads wider than D / H": Pair(
            "qwen3", ("model=qwen3", *hidden, "model.kv_heads=2", "model.head_dim=24"),
            Qwen3ForCausalLM(Qwen3Config(**qwen, rope_parameters=rope(1e6), tie_word_embeddings=True)),
        ),
    }  # fmt: skip
    for pair in found.values():
        for parameter in pair.peer.parameters():  # biases and norms too, which start at 0 and 1
            torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 0.5)
        pair.peer.eval()
    return found


PAIRS = pairs()


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return PAIRS[request.param]


def ours(pair: Pair) -> LanguageModel:
    """Our model with the peer's weights."""
    preset, *rest = pair.overrides
    model = gw.build(gw.load_config([preset, *SIZE, *rest]).model)
    model.load_state_dict(from_native(pair.peer.state_dict(), pair.family, model.state_dict()))
    return model.eval()


def ids(*shape: int) -> Tensor:
    return torch.randint(101, shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_logits_and_loss_agree(pair: Pair) -> None:
    tokens = ids(2, 48)
    expected, found = pair.peer(tokens, labels=tokens), ours(pair)(tokens, labels=tokens)
    assert expected.logits.std() > 0.5  # the weights are wide enough for an error to show
    assert (expected.logits - found.logits).abs().max() < TOLERANCE
    assert found.loss.item() == pytest.approx(expected.loss.item(), abs=TOLERANCE)


@torch.no_grad()
def test_logits_of_left_padded_prompts_agree(pair: Pair) -> None:
    tokens = ids(2, 20)
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[0, :7] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    expected = pair.peer(tokens, attention_mask=mask, position_ids=positions).logits
    found = ours(pair)(tokens, attention_mask=mask).logits
    assert (expected - found)[mask.bool()].abs().max() < TOLERANCE


def test_gradients_agree(pair: Pair) -> None:
    tokens = ids(2, 16)
    model = ours(pair)
    model(tokens, labels=tokens).loss.backward()
    pair.peer.zero_grad()
    pair.peer(tokens, labels=tokens).loss.backward()
    expected = {name: p.grad for name, p in pair.peer.named_parameters()}
    found = to_native({name: p.grad for name, p in model.named_parameters() if p.grad is not None}, pair.family)
    assert set(found) == set(expected)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


def test_weights_survive_the_round_trip(pair: Pair) -> None:
    native = to_native(ours(pair).state_dict(), pair.family)
    theirs = pair.peer.state_dict()
    tied = {"lm_head.weight"} if "lm_head.weight" not in native else set()
    assert set(native) == set(theirs) - tied
    assert all(torch.equal(native[name], theirs[name]) for name in native)


@pytest.mark.parametrize("kept", ["gpt2", "llama"])
def test_training_state_of_another_architecture_is_refused(kept: Any) -> None:
    model = gw.build(gw.load_config(["model=gpt2", *SIZE, "model.feedforward=paglu"]).model)
    with pytest.raises(UserError, match=f"not a {kept}"):
        to_native(model.state_dict(), kept)
    with pytest.raises(UserError):
        from_native(PAIRS[kept].peer.state_dict(), kept, model.state_dict())


def changed(state: dict[str, Tensor], **tensors: Tensor | None) -> dict[str, Tensor]:
    """``state`` with tensors added, or left out where they are None."""
    merged = {**state, **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}
    return {name: tensor for name, tensor in merged.items() if tensor is not None}


@pytest.mark.parametrize(
    ("kept", "tensors", "said"),
    [
        ("gpt2", {"transformer__ln_f__bias": None}, "the gpt2 weights lack transformer.ln_f.bias"),
        ("gpt2", {"transformer__h__3__ln_1__bias": torch.ones(64)}, "no place for transformer.h.3.ln_1.bias"),
        ("gpt2", {"lm_head__weight": torch.ones(101, 64)}, "no place for lm_head.weight"),
        ("gpt2", {"transformer__wpe__weight": torch.ones(9, 64)}, "has shape (9, 64), which does not fit the model"),
        ("llama", {"model__layers__0__self_attn__q_norm__weight": torch.ones(16)}, "no place for model.layers.0"),
        (
            "llama",
            {"model__layers__1__mlp__up_proj__bias": torch.ones(96)},
            "no place for model.layers.1.mlp.up_proj.bias",
        ),
    ],
)
def test_nothing_of_theirs_is_dropped_or_made_up(kept: Any, tensors: dict[str, Any], said: str) -> None:
    model = ours(PAIRS[kept])
    with pytest.raises(UserError) as error:
        from_native(changed(PAIRS[kept].peer.state_dict(), **tensors), kept, model.state_dict())
    assert said in str(error.value)


def test_masks_and_angles_of_old_checkpoints_are_no_weights() -> None:
    state = changed(PAIRS["gpt2"].peer.state_dict(), transformer__h__0__attn__bias=torch.ones(1, 1, 48, 48))
    model = ours(PAIRS["gpt2"])
    assert set(from_native(state, "gpt2", model.state_dict())) == set(model.state_dict())


@pytest.mark.parametrize(
    "changes", [["model.bias=false"], ["model.norm_position=post"], ["model.norm=layernorm_nobias"]]
)
def test_a_model_that_lacks_what_the_family_has_is_refused(changes: list[str]) -> None:
    model = gw.build(gw.load_config(["model=gpt2", *SIZE, *changes]).model)
    with pytest.raises(UserError, match="this model is not a gpt2: it has nothing for transformer"):
        to_native(model.state_dict(), "gpt2")


def test_an_unknown_family() -> None:
    with pytest.raises(UserError, match="unknown family 'gpt3'; did you mean 'gpt2'"):
        to_native({}, "gpt3")  # type: ignore[arg-type]
