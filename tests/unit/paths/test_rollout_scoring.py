"""Rollouts scored again: the same inputs, the same log-probabilities, and gradients where they belong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rollout_models import KINDS, V, model_of, roll
from torch import Tensor, nn

import gatewright as gw
from gatewright.errors import UserError
from gatewright.paths import (
    AdaptiveWeight,
    Diagnostics,
    Rollout,
    add_divergence,
    compare_again,
    rebuild_inputs,
    token_log_probs,
)
from gatewright.paths.policies import policy_of


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_log_probabilities_are_the_rolled_out_ones(kind: str) -> None:
    """Left padding, paths that end early and leave the cache, paths that stop listening."""
    model, r = model_of(kind), roll(kind)
    assert len(r.lengths.unique()) > 3
    assert 0.1 < r.listened.float().mean() < 0.95
    with torch.no_grad():
        again = token_log_probs(model, r, chunk=3)
        deaf = token_log_probs(model, r, attention=torch.zeros_like(r.attention))
    assert again.dtype == torch.float32
    torch.testing.assert_close(again, r.log_probs, atol=1e-4, rtol=0)
    assert (deaf - r.log_probs).abs().max() > 0.05  # the blend matters: the check is one
    assert not again[~r.mask].any()


@pytest.mark.parametrize("blend_weight", [0.0, 0.1, 0.7, AdaptiveWeight(minimum=0.1, maximum=0.9)])
def test_also_for_other_weights(blend_weight: Any) -> None:
    r = roll("qwen2", blend_weight=blend_weight, similarity="random_peer")
    torch.testing.assert_close(token_log_probs(model_of("qwen2"), r), r.log_probs, atol=1e-4, rtol=0)


def test_chunks_and_questions_can_be_taken_apart() -> None:
    model, r = model_of("gpt2"), roll("gpt2")
    with torch.no_grad():
        whole = token_log_probs(model, r, chunk=1000)
        torch.testing.assert_close(token_log_probs(model, r, chunk=1), whole, atol=1e-5, rtol=0)
        for part in (slice(1, 3), torch.tensor([2, 0])):
            torch.testing.assert_close(token_log_probs(model, r.select(part), chunk=7), whole[part], atol=1e-5, rtol=0)


def test_the_inputs_that_the_model_has_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit where nobody was heard, to within rounding where somebody was."""
    read: list[Tensor] = []
    policy = type(policy_of(model_of("llama")))
    whole = policy.next_logits

    def spy(self: Any, inputs: Tensor, *rest: Any) -> Tensor:
        read.append(inputs)
        return whole(self, inputs, *rest)

    monkeypatch.setattr(policy, "next_logits", spy)
    r = roll("llama", end_ids=[])  # nobody ends, so all rows stay
    inputs = rebuild_inputs(model_of("llama"), r)
    assert inputs.shape == (12, 5 + 20, 32)
    stepped = torch.cat(read[1:], 1)
    listened = r.listened.flatten(0, 1)[:, :19]
    rebuilt = inputs[:, 5:24]
    assert torch.equal(rebuilt[~listened], stepped[~listened])
    torch.testing.assert_close(rebuilt[listened], stepped[listened], atol=1e-6, rtol=0)
    assert torch.equal(inputs[::4, :5], read[0])


class LargestLogits:
    """The most logits that a head has made at once."""

    def __init__(self, head: nn.Module) -> None:
        self.elements = 0
        head.register_forward_hook(self)

    def __call__(self, module: nn.Module, given: Any, logits: Tensor) -> None:
        self.elements = max(self.elements, logits.numel())


def test_logits_never_stand_in_memory_at_once() -> None:
    """Forward and backward; and chunks change no gradient."""
    gradients = []
    for chunk in (2, 1000):
        torch.manual_seed(0)
        model: Any = KINDS["llama"]()
        r = roll(model=model)
        largest = LargestLogits(model.get_output_embeddings())
        token_log_probs(model, r, chunk=chunk).sum().backward()
        rows, steps = 12, r.tokens.shape[-1]
        assert largest.elements == max(rows * min(chunk, steps), 16) * V
        gradients.append([parameter.grad for parameter in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", ["luong", "bahdanau"])
@pytest.mark.parametrize("kind", ["own", "llama"])
def test_gradients_reach_a_learnable_similarity(kind: str, name: str) -> None:
    gate = gw.make_similarity(name, n_embd=32, temperature=0.5)
    with torch.no_grad():
        for index, parameter in enumerate(gate.parameters()):
            nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(index))
    r = roll(kind, similarity=gate, keep_signals=True)
    assert r.signals is not None
    assert r.signals.shape == (len(r.steps), 3, 4, 32)
    attention = compare_again(gate, r)
    torch.testing.assert_close(attention.detach(), r.attention, atol=1e-6, rtol=0)
    model = model_of(kind)
    log_probs = token_log_probs(model, r, attention=attention)
    torch.testing.assert_close(log_probs.detach(), r.log_probs, atol=1e-4, rtol=0)
    found = torch.autograd.grad((log_probs * torch.randn(r.tokens.shape)).sum(), list(gate.parameters()))
    assert all(gradient.isfinite().all() and gradient.any() for gradient in found)
    part = r.select(slice(0, 2))
    torch.testing.assert_close(compare_again(gate, part), attention[:, :2])


def test_signals_are_asked_for() -> None:
    gate = gw.make_similarity("luong", n_embd=32)
    with pytest.raises(UserError, match="keep_signals=True"):
        compare_again(gate, roll(similarity=gate))


def divergence(r: Rollout) -> float:
    diagnostics = Diagnostics()
    add_divergence(model_of("llama"), r, diagnostics, chunk=3)
    return diagnostics.result()["blend_divergence"]


def test_divergence_of_blended_from_plain() -> None:
    """Of the very first listening, by hand; and more listening diverges more."""
    model: Any = model_of("llama")
    r = roll(prompts=[[1, 2]], paths=3, max_new_tokens=2, end_ids=[], delimiter=None)
    with torch.no_grad():
        inputs = rebuild_inputs(model, r)
        blended = model(inputs_embeds=inputs).logits[:, 2].log_softmax(-1)
        ids = torch.cat((torch.tensor([[1, 2]]).expand(3, -1), r.tokens[0]), 1)
        plain = model(ids).logits[:, 2].log_softmax(-1)
    by_hand = (blended.exp() * (blended - plain)).sum(-1).mean().item()
    assert divergence(r) == pytest.approx(by_hand, rel=1e-4)
    assert by_hand > 1e-3
    assert divergence(roll(blend_weight=0.02)) < divergence(roll(blend_weight=0.4)) / 10
