"""Generation: the cache changes nothing, batches change nothing, and samplers draw what they say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import gatewright as gw
from gatewright.errors import UserError
from gatewright.model import LanguageModel
from gatewright.model import packed as packed_module
from gatewright.model.packed import PackedLinear, generation_precision, in_bf16
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


bf16 = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@bf16
@pytest.mark.parametrize("kind", KINDS)
def test_in_bf16_logits_are_those_of_autocast_and_the_model_stays_as_it_is(kind: str) -> None:
    model = make(*KINDS[kind]).eval()
    before = {name: (parameter, parameter.clone()) for name, parameter in model.named_parameters()}
    modules = dict(model.named_modules())
    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = model(ids).logits.float()
    with torch.no_grad(), in_bf16(model):
        assert sum(isinstance(module, PackedLinear) for module in model.modules()) >= 4 * 2 + 1
        found = model(ids).logits.float()
    exact = model(ids).logits
    # as near to float32 as autocast is, whose products are rounded in other orders
    assert (found - exact).abs().max() <= 1.5 * (plain - exact).abs().max()
    assert dict(model.named_modules()) == modules
    for name, parameter in model.named_parameters():
        assert parameter is before[name][0]
        assert torch.equal(parameter, before[name][1])


@bf16
def test_a_packed_layer_is_its_linear_layer() -> None:
    layer = torch.nn.Linear(300, 70)
    packed = PackedLinear(layer.weight, layer.bias)
    assert torch.equal(packed.weight, layer.weight.bfloat16())
    x = torch.randn(2, 5, 300).bfloat16()
    exact = torch.nn.functional.linear(x.double(), layer.weight.bfloat16().double(), layer.bias.bfloat16().double())
    torch.testing.assert_close(packed(x).double(), exact, rtol=2**-8, atol=2**-12)


@bf16
def test_a_model_is_restored_when_generation_fails() -> None:
    model = make()
    modules = dict(model.named_modules())
    with pytest.raises(RuntimeError, match="enough"), in_bf16(model):
        raise RuntimeError("enough")
    assert dict(model.named_modules()) == modules
    assert gw.generate(model, PROMPTS, max_new_tokens=3) == gw.generate(model, PROMPTS, max_new_tokens=3)


@pytest.mark.parametrize(
    ("requested", "native", "large", "expected"),
    [
        ("auto", True, True, "bf16"), ("auto", True, False, "float32"), ("auto", False, True, "float32"),
        ("bf16", False, False, "bf16"), ("float32", True, True, "float32"),
    ],
)  # fmt: skip
def test_auto_is_bf16_for_large_models_where_it_is_native(
    requested: str, native: bool, large: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make()
    monkeypatch.setattr(packed_module, "native_bf16", lambda device: native)
    monkeypatch.setattr(packed_module, "LARGE", 0 if large else 2**40)
    assert generation_precision(requested, model) == expected


@bf16
def test_generation_uses_it() -> None:
    """What is drawn greedily in bf16 is what autocast's own logits say, token by token, or nearly a tie of these."""
    model = make().eval()
    (tokens,) = gw.generate(model, [[1, 2, 3]], max_new_tokens=20, precision="bf16")
    with torch.no_grad():
        logits = model(torch.tensor([[1, 2, 3, *tokens]])).logits[0, 2:-1]
    lost = logits.max(-1).values - logits.gather(-1, torch.tensor(tokens)[:, None])[:, 0]
    assert lost.max() <= 0.02 * logits.std()
