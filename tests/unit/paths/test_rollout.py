"""Paths in lock-step: what each reads, when it listens, and that its draws depend on its place alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from rollout_models import PROMPTS, V, model_of, roll
from scipy import stats
from torch import Tensor

import gatewright as gw
from gatewright.data.tokenization import CharTokenizer
from gatewright.errors import RunError, UserError
from gatewright.model.sampling import Sampler
from gatewright.paths import (
    AdaptiveWeight,
    Diagnostics,
    Rollout,
    draw_keys,
    generate,
    listening_table,
    who_heard_whom,
)
from gatewright.paths.drawing import draw_tokens
from gatewright.paths.policies import OwnPolicy


def same(a: Rollout, b: Rollout) -> None:
    """Bit for bit."""
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y, field.name


def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any use of a gate fails."""

    def called(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the gate was called")

    monkeypatch.setattr("gatewright.paths.gate.Gate.__call__", called)


@pytest.mark.parametrize("kind", ["llama", "own"])
def test_without_listening_it_is_plain_sampling_bit_for_bit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = roll(kind)
    assert heard.listened.any()
    silent(monkeypatch)
    plain = roll(kind, similarity="none")
    same(plain, roll(kind, blend_weight=0.0))
    same(plain, roll(kind, blend_weight=0))
    assert not plain.listened.any()
    assert plain.attention.shape == (0, 3, 4, 4)
    assert not torch.equal(plain.tokens[..., :3], heard.tokens[..., :3])


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2"])
def test_greedy_is_what_transformers_generates(kind: str) -> None:
    ids = torch.tensor([[0] * (5 - len(prompt)) + prompt for prompt in PROMPTS])
    mask = torch.tensor([[0] * (5 - len(prompt)) + [1] * len(prompt) for prompt in PROMPTS])
    model: Any = model_of(kind)
    theirs = model.generate(
        ids, attention_mask=mask, do_sample=False, max_new_tokens=20, eos_token_id=[5, 6, 11, 12], pad_token_id=0
    )[:, 5:]
    ours = roll(kind, paths=2, similarity="none", temperature=0.0)
    for path in (0, 1):
        assert ours.tokens[:, path].tolist() == theirs.tolist()


def test_greedy_is_what_our_own_model_generates() -> None:
    model: Any = model_of("own")
    theirs = gw.generate(model, PROMPTS, max_new_tokens=20, sampler=Sampler(temperature=0), end_id=5)
    ours = roll("own", paths=2, similarity="none", temperature=0.0, end_ids=[5])
    for question, tokens in enumerate(theirs):
        length = int(ours.lengths[question, 1])
        assert [t for t in ours.tokens[question, 1, :length].tolist() if t != 5] == tokens


def test_first_two_tokens_are_drawn_from_the_models_own_distribution() -> None:
    """All 4,000 paths of one question against p(a) p(b | a) of a forward pass without a cache."""
    model: Any = model_of("gpt2")
    n = 4000
    found = roll("gpt2", prompts=[[1, 2]], paths=n, similarity="none", max_new_tokens=2, end_ids=[], delimiter=None)
    with torch.no_grad():
        pairs = torch.cartesian_prod(torch.tensor([1]), torch.tensor([2]), torch.arange(V))
        after = model(pairs).logits.double().softmax(-1)
    expected = (after[0, 1][:, None] * after[:, 2]).flatten() * n
    counts = torch.bincount((found.tokens[0, :, 0] * V + found.tokens[0, :, 1]), minlength=V * V).double()
    often = expected >= 5
    observed = torch.cat((counts[often], counts[~often].sum()[None])).numpy()
    wanted = torch.cat((expected[often], expected[~often].sum()[None])).numpy()
    assert often.sum() > 50
    assert stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 0.01


def test_temperature_and_nucleus() -> None:
    n = 20_000
    logits = torch.tensor([2.0, 1.0, 0.5, -1.0, -30.0])
    keys = draw_keys(0, torch.arange(n))
    rows = logits.log_softmax(-1).expand(n, -1)
    for temperature, top_p, kept in ((1.0, 1.0, 5), (0.5, 1.0, 5), (2.0, 0.6, 2)):
        p = (logits.double() / temperature).softmax(-1)
        p[kept:] = 0
        drawn = draw_tokens(rows, keys, temperature=temperature, top_p=top_p).bincount(minlength=5).numpy()
        wanted = (p / p.sum() * n).numpy()
        assert drawn[wanted == 0].sum() == 0
        big = wanted > 5
        assert stats.chisquare(drawn[big], wanted[big] * drawn[big].sum() / wanted[big].sum()).pvalue > 0.01
    assert (draw_tokens(rows, keys, temperature=0) == 0).all()


@pytest.mark.parametrize("place", [0.0, 1 - 2.0**-24])
def test_no_token_without_probability_is_drawn_at_either_end(place: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewright.paths.drawing.uniform", lambda keys: torch.full(keys.shape, place))
    rows = torch.tensor([[0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 1.0, 0.0]]).log()
    assert draw_tokens(rows, torch.arange(2)).tolist() == [1 if place == 0 else 2, 2]


def test_a_row_that_has_ended_lets_go_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    whole = OwnPolicy.next_logits

    def spy(self: OwnPolicy, inputs: Tensor, *args: Any) -> Tensor:
        sizes.append(len(inputs))
        return whole(self, inputs, *args)

    monkeypatch.setattr(OwnPolicy, "next_logits", spy)
    found = roll("own", end_ids=[5, 6, 7])
    assert sizes[:2] == [3, 12]  # each prompt is read once, whatever the number of paths
    assert sizes[-1] < 12
    assert sizes == sorted(sizes[:1]) + sorted(sizes[1:], reverse=True)
    for step, size in enumerate(sizes[1:], start=1):  # never a row less than goes on
        assert size >= (found.lengths > step).sum()


@pytest.mark.parametrize("similarity", ["cosine", "random_peer"])
@pytest.mark.parametrize("kind", ["own", "qwen2"])
def test_a_question_does_not_depend_on_what_else_is_in_the_batch(kind: str, similarity: str) -> None:
    whole = roll(kind, similarity=similarity)
    for question in range(3):
        alone = roll(kind, similarity=similarity, prompts=[PROMPTS[question]], question_ids=[question])
        length = int(alone.lengths.max())
        assert torch.equal(alone.lengths[0], whole.lengths[question])
        assert torch.equal(alone.tokens[0], whole.tokens[question, :, :length])
        torch.testing.assert_close(alone.log_probs[0], whole.log_probs[question, :, :length], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("similarity", ["bhattacharyya", "random_peer"])
def test_permuted_paths_give_permuted_results(similarity: str) -> None:
    order = [2, 0, 3, 1]
    a, b = roll(similarity=similarity), roll(similarity=similarity, path_ids=order)
    for name in ("tokens", "lengths", "ended", "thinking", "blend_weights"):
        assert torch.equal(getattr(b, name), getattr(a, name)[:, order]), name
    torch.testing.assert_close(b.log_probs, a.log_probs[:, order], atol=2e-5, rtol=0)
    torch.testing.assert_close(b.attention, a.attention[:, :, order][..., order], atol=1e-4, rtol=0)


def test_seeds_questions_and_paths_differ_and_repeat() -> None:
    a = roll(prompts=[[1, 2], [1, 2]], similarity="none", end_ids=[])
    same(a, roll(prompts=[[1, 2], [1, 2]], similarity="none", end_ids=[]))
    rows = torch.cat((a.tokens, roll(prompts=[[1, 2], [1, 2]], similarity="none", end_ids=[], seed=1).tokens))
    assert len(rows.flatten(0, 1).unique(dim=0)) == 16


def test_who_thinks_who_listens_and_where_paths_end() -> None:
    """Replayed token by token from the definition."""
    r = roll("qwen2", blend_weight=0.1)
    attention = dict(zip(r.steps.tolist(), r.attention, strict=True))
    states = set()
    for q in range(3):
        thinking, alive = [True] * 4, [True] * 4
        texts: list[list[int]] = [[] for _ in range(4)]
        for step in range(r.tokens.shape[-1]):
            for i in range(4):
                if not alive[i]:
                    assert r.tokens[q, i, step] == 0
                    assert r.log_probs[q, i, step] == 0
                    continue
                texts[i].append(int(r.tokens[q, i, step]))
                alive[i] = texts[i][-1] not in (5, 6, 11, 12)
                thinking[i] = thinking[i] and alive[i] and texts[i][-1] != 3 and texts[i][-2:] != [7, 8]
            last = step + 1 == r.tokens.shape[-1]
            for i in range(4):
                assert r.thinking[q, i, step] == thinking[i]
                hears = thinking[i] and sum(thinking) > 1 and not last
                assert r.listened[q, i, step] == hears
                states.add((thinking[i], alive[i], hears))
                if step in attention:
                    row = attention[step][q, i]
                    assert row.sum().item() == pytest.approx(float(hears), abs=1e-6)
                    assert not row[[j for j in range(4) if j == i or not thinking[j]]].any()
        assert r.lengths[q].tolist() == [len(text) for text in texts]
        assert r.ended[q].tolist() == [not each for each in alive]
    assert states >= {(True, True, True), (False, True, False), (False, False, False)}
    assert r.blend_weights.unique().tolist() == pytest.approx([0, 0.1])


def test_what_is_read_after_listening() -> None:
    """Step by step without a cache: the next distribution is the model's after h, put together by hand."""
    model: Any = model_of("llama")
    r = roll(prompts=[[1, 2, 3]], paths=3, similarity="peer_mean", blend_weight=0.5, max_new_tokens=3, end_ids=[])
    with torch.no_grad():
        e = model.get_input_embeddings()(r.tokens[0])  # (N, T, D)
        prompt = model.get_input_embeddings()(torch.tensor([1, 2, 3])).expand(3, -1, -1)
        h = [0.5 * e[:, t] + 0.25 * (e[:, t].sum(0) - e[:, t]) for t in range(2)]
        inputs = torch.cat((prompt, torch.stack(h, 1)), 1)
        logs = model(inputs_embeds=inputs).logits[:, 2:].log_softmax(-1)
    assert r.listened[..., :2].all()
    torch.testing.assert_close(logs.gather(-1, r.tokens[0][..., None])[..., 0], r.log_probs[0], atol=1e-5, rtol=0)


def test_one_path_has_nobody_to_hear() -> None:
    alone = roll(paths=1)
    assert not alone.listened.any()
    same(alone, roll(paths=1, similarity="none"))


def test_the_gate_sees_distributions_that_no_filter_has_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    gate = gw.make_similarity("cosine")
    whole = gate.similarity

    def spy(log_probs: Tensor, **given: Any) -> Tensor:
        seen.append(log_probs)
        return whole(log_probs, **given)

    monkeypatch.setattr(gate, "similarity", spy)
    roll(similarity=gate, top_p=0.3, temperature=0.5)
    assert seen
    for log_probs in seen:
        assert log_probs.isfinite().all()
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:-1]), atol=1e-5, rtol=0)


def test_adaptive_weights_are_kept() -> None:
    weight = AdaptiveWeight(minimum=0.05, maximum=0.4)
    r = roll(blend_weight=weight)
    used = r.blend_weights[r.listened]
    assert used.min() >= 0.05
    assert used.max() <= 0.4
    assert len(used.unique()) > 10
    assert weight.square.isfinite()


@pytest.mark.parametrize("similarity", ["none", "peer_mean", "random_peer", "cosine", "luong"])
def test_diagnostics_of_every_similarity(similarity: str) -> None:
    diagnostics = Diagnostics()
    r = roll(similarity=similarity, diagnostics=diagnostics)
    found = diagnostics.result()
    live = r.thinking[..., :-1].sum().item()
    assert found["listening_share"] == pytest.approx(r.listened.sum().item() / live)
    if similarity == "none":
        assert set(found) == {"listening_share"}
    else:
        assert found["effective_peers"] >= 1
        assert {"attention_entropy", "attention_max", "attention_variance", "similarity_range", "fork_share"} <= set(
            found
        )


def test_dropout_is_off_and_modes_come_back() -> None:
    sizes = ["model=small", "model.n_layer=1", "model.n_embd=32", "model.block_size=64", f"model.vocab_size={V}"]
    model: Any = gw.build(gw.load_config([*sizes, "model.dropout=0.5"]).model, seed=3).train()
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    same(roll(model=model), roll(model=model))
    assert [module.training for module in model.modules()] == modes


ALPHABET = "0123456789=+ #\n"


def test_text_in_and_out() -> None:
    tokenizer = CharTokenizer.of(ALPHABET)
    r = generate(model_of("own"), tokenizer, ["1+2=", "3+41="], paths=3, max_new_tokens=40, delimiter="#", seed=6)
    assert r.prompt_ids[0].tolist() == [0, *tokenizer.encode("1+2=")]
    assert r.prompt_mask[0].tolist() == [False, True, True, True, True]
    texts = r.texts(tokenizer)
    for question in range(2):
        for path in range(3):
            thinking = r.thinking[question, path]
            tokens = r.tokens[question, path, : r.lengths[question, path]].tolist()
            assert texts[question][path] == tokenizer.decode(tokens)
            marks = [t for t, token in enumerate(tokens) if tokenizer.decode([token]) == "#"]
            assert int(thinking.sum()) == (marks[0] if marks else len(tokens) - bool(r.ended[question, path]))
    assert any("#" in text for text in texts[0])


def test_who_heard_whom() -> None:
    tokenizer = CharTokenizer.of(ALPHABET)
    r = generate(model_of("own"), tokenizer, ["1+2="], paths=3, similarity="random_peer", max_new_tokens=12, seed=1)
    heard = who_heard_whom(r)
    assert len(heard) == r.listened.sum()
    for one in heard:
        assert one.token == r.tokens[0, one.path, one.step]
        assert one.blend_weight == pytest.approx(0.1)
        (peer,) = one.heard
        assert peer != one.path
    lines = listening_table(r, tokenizer).splitlines()
    assert len(lines) == len(r.steps)
    assert lines[0].split()[0] == "0"
    assert f"<{next(iter(heard[0].heard))}" in lines[0]
    alike = generate(model_of("own"), tokenizer, ["1+2="], paths=3, similarity="peer_mean", max_new_tokens=4)
    assert listening_table(alike, tokenizer).splitlines()[0].count("<*") == 3
    plain = generate(model_of("own"), tokenizer, ["1+2="], paths=3, similarity="none", max_new_tokens=4)
    assert who_heard_whom(plain) == []
    assert listening_table(plain, tokenizer) == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paths": 0}, "paths=0"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"blend_weight": 1.5}, "blend_weight=1.5"),
        ({"similarity": "cosin"}, "did you mean 'cosine'"),
        ({"prompts": []}, "one or more prompts"),
        ({"prompts": [[1], []]}, "prompt 1 is empty"),
        ({"prompts": [[V]]}, "token 40 of a prompt"),
        ({"prompts": ["text"]}, "tokenizer is None"),
        ({"delimiter": "####"}, "tokenizer is None"),
        ({"delimiter": [[]]}, "delimiter"),
        ({"max_new_tokens": 60}, "5 tokens and max_new_tokens=60 exceed the model's 64 positions"),
        ({"question_ids": [1]}, "question_ids: 1 numbers for 3"),
        ({"path_ids": [1]}, "path_ids: 1 numbers for 4"),
        ({"keep_signals": True}, "nothing to learn"),
    ],
)
@pytest.mark.parametrize("kind", ["own", "llama"])
def test_mistakes_are_named_before_any_work(
    kind: str, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_of(kind), "forward", None)
    with pytest.raises(UserError, match=message):
        roll(kind, **changes)


def test_what_is_no_language_model() -> None:
    with pytest.raises(UserError, match="not Linear"):
        roll(model=torch.nn.Linear(2, 2))


def test_a_model_that_has_diverged() -> None:
    model: Any = gw.build(gw.load_config(["model=small", "model.n_layer=1", f"model.vocab_size={V}"]).model, seed=3)
    with torch.no_grad():
        model.embedding.weight.fill_(float("nan"))
    with pytest.raises(RunError, match="not a number at step 0"):
        roll(model=model)
