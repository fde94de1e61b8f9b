"""Generation: the cache changes nothing, batches change nothing, and samplers draw what they say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import gatewright as gw
from gatewright.errors import UserError
from gatewright.model import LanguageModel
from gatewright.model.sampling import Sampler, keep_nucleus, keep_top

PROMPTS = [[1, 2, 3], [5, 6, 7, 8, 9, 10, 11], [4]]
SIZE = ["model=small", "model.n_layer=2", "model.n_embd=32", "model.block_size=40", "model.vocab_size=53"]
KINDS = {
    "rope": [],
    "alibi": ["model.position=alibi"],
    "learned": ["model.position=learned"],
    "none": ["model.position=none"],
    "window": ["model.attention={name: sdpa, window: 6}"],
    "grouped queries": ["model.kv_heads=2", "model.attention=manual"],
    "output gate and qk-norm": ["model.attention={name: sdpa, output_gate: head, qk_norm: rmsnorm}"],
    "gated": ["model.feedforward=paglu", "model.alpha=input_projection"],
    "experts": ["model.feedforward={name: moe, n_experts: 4, capacity_factor: 1.0}"],
}


def make(*overrides: str) -> LanguageModel:
    return gw.build(gw.load_config([*SIZE, *overrides]).model, seed=3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_same_tokens_with_and_without_cache(kind: str, temperature: float) -> None:
    model = make(*KINDS[kind])
    with_cache, without = (
        gw.generate(model, PROMPTS, max_new_tokens=30, sampler=Sampler(temperature=temperature), use_cache=cache)
        for cache in (True, False)
    )
    assert with_cache == without
    assert len({tuple(tokens) for tokens in with_cache}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_in_a_batch_is_continued_as_it_is_alone(kind: str) -> None:
    model = make(*KINDS[kind])
    alone = [gw.generate(model, [prompt], max_new_tokens=20)[0] for prompt in PROMPTS]
    assert gw.generate(model, PROMPTS, max_new_tokens=20) == alone


def test_each_sequence_ends_by_itself() -> None:
    model = make()
    free = gw.generate(model, PROMPTS, max_new_tokens=20, sampler=Sampler(seed=1))
    end = free[0][4]
    stopped = gw.generate(model, PROMPTS, max_new_tokens=20, sampler=Sampler(seed=1), end_id=end)
    for all_of_it, until in zip(free, stopped, strict=True):
        assert until == (all_of_it[: all_of_it.index(end)] if end in all_of_it else all_of_it)
    assert len(stopped[0]) <= 4


def test_training_mode_is_restored_and_dropout_is_off() -> None:
    model = make("model.dropout=0.5").train()
    assert gw.generate(model, PROMPTS, max_new_tokens=10) == gw.generate(model, PROMPTS, max_new_tokens=10)
    assert model.training


def test_what_does_not_fit_is_said_before_anything_is_generated() -> None:
    with pytest.raises(UserError, match="block_size=40"):
        gw.generate(make(), PROMPTS, max_new_tokens=34)
    with pytest.raises(UserError, match="empty"):
        gw.generate(make(), [[1], []], max_new_tokens=3)
    with pytest.raises(UserError, match="temperature"):
        Sampler(temperature=-1)
    with pytest.raises(UserError, match="top_p"):
        Sampler(top_p=1.5)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    draws = Sampler(seed=0)(logits.expand(40_000, 4))
    share = torch.bincount(draws, minlength=4) / 40_000
    torch.testing.assert_close(share, logits.softmax(-1), atol=0.01, rtol=0)  # four standard errors


def test_temperature_sharpens() -> None:
    logits = torch.tensor([1.0, 0.5, 0.0]).expand(20_000, 3)
    share = torch.bincount(Sampler(temperature=0.25)(logits), minlength=3) / 20_000
    torch.testing.assert_close(share, (logits[0] / 0.25).softmax(-1), atol=0.014, rtol=0)


@pytest.mark.parametrize(
    ("filtered", "kept"),
    [
        (keep_top(torch.tensor([[0.1, 3.0, 2.0, 1.0]]), 2), [1, 2]),
        (keep_top(torch.tensor([[0.1, 3.0, 2.0, 1.0]]), 9), [0, 1, 2, 3]),
        (keep_nucleus(torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log(), 0.75), [0, 1]),
        (keep_nucleus(torch.tensor([[0.05, 0.15, 0.3, 0.5]]).log(), 0.85), [1, 2, 3]),
        (keep_nucleus(torch.tensor([[0.9, 0.1]]).log(), 1e-6), [0]),
    ],
)
def test_filters_keep_the_right_tokens(filtered: Tensor, kept: list[int]) -> None:
    assert torch.isfinite(filtered[0]).nonzero().flatten().tolist() == kept
