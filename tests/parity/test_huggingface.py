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
