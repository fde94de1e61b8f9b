"""The gate at the other end of the model: blended logits, in rollouts and when they are scored again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rollout_models import PROMPTS, V, model_of

import gatewright as gw
from gatewright.errors import UserError
from gatewright.paths import (
    Diagnostics,
    Rollout,
    add_divergence,
    compare_again,
    generate,
    token_log_probs,
    token_scores,
)

END, DELIMITER = [0], [[1], [2, 3]]


def rolled(kind: str = "own", **options: Any) -> Rollout:
    given = {"paths": 4, "similarity": "cosine", "blend_weight": 0.5, "max_new_tokens": 10, "seed": 1}
    return generate(
        model_of(kind), None, PROMPTS, **{**given, "blends": "logits", **options}, end_ids=END, delimiter=DELIMITER
    )


@pytest.mark.parametrize("kind", ["own", "gpt2", "qwen2", "llama with LoRA", "gemma2, logits capped, sliding window"])
def test_recomputed_log_probabilities_are_the_rolled_out_ones(kind: str) -> None:
    rollout = rolled(kind)
    assert rollout.blend_weights[:, :, 0].gt(0).all()  # heard before the first draw
    with torch.no_grad():
        again = token_log_probs(model_of(kind), rollout, chunk=3)
    torch.testing.assert_close(again, rollout.log_probs, atol=2e-5, rtol=0)
    silent = torch.zeros_like(rollout.attention)
    with torch.no_grad():
        plain = token_log_probs(model_of(kind), rollout, attention=silent)
    assert (plain - rollout.log_probs).abs().max() > 1e-3


def test_the_first_distribution_is_what_it_would_be_alone() -> None:
    """Before anything is drawn all paths expect the same, so what they hear changes nothing."""
    alone, rollout = rolled(blend_weight=0.0), rolled()
    assert torch.equal(alone.tokens[..., 0], rollout.tokens[..., 0])
    torch.testing.assert_close(alone.log_probs[..., 0], rollout.log_probs[..., 0])
    assert not torch.equal(alone.tokens, rollout.tokens)


def test_a_distribution_is_the_normalised_weighted_geometric_mean() -> None:
    rollout = rolled(paths=2)
    step = int(rollout.steps[1])
    model = model_of("own")
    for question, prompt in enumerate(PROMPTS):
        if not rollout.listened[question, :, step].all():
            continue
        texts = [[*prompt, *rollout.tokens[question, path, :step].tolist()] for path in (0, 1)]
        with torch.no_grad():
            own = torch.stack([model(torch.tensor([text])).logits[0, -1].log_softmax(-1) for text in texts])
        mixed = (0.5 * own + 0.5 * own.flip(0)).log_softmax(-1)  # two paths: each hears the other alone
        drawn = rollout.tokens[question, :, step]
        torch.testing.assert_close(
            mixed.gather(-1, drawn[:, None])[:, 0], rollout.log_probs[question, :, step], atol=2e-5, rtol=0
        )
        return
    pytest.fail("no question listened at the second step")


@pytest.mark.parametrize("name", ["luong", "bahdanau"])
def test_gradients_reach_the_gate_and_the_model_and_agree_with_finite_differences(name: str) -> None:
    model = model_of("own")
    gate = gw.make_similarity(name, n_embd=32, vocab_size=V, temperature=1.0)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0), std=0.3)
    rollout = rolled(similarity=gate, keep_signals=True)

    def loss() -> torch.Tensor:
        return token_log_probs(model, rollout, attention=compare_again(gate, rollout)).sum()

    weight = next(gate.parameters())
    by_gate, by_model = torch.autograd.grad(loss(), [weight, model.embedding.weight])
    assert by_gate.isfinite().all()
    assert by_model.isfinite().all()
    assert by_model.any()
    direction = by_gate / by_gate.norm()
    with torch.no_grad():
        values = []
        for shift in (2e-3, -2e-3):
            weight += shift * direction
            values.append(loss().item())
            weight -= shift * direction
    assert (values[0] - values[1]) / 4e-3 == pytest.approx(by_gate.norm().item(), rel=2e-2)


def test_no_gradient_reaches_a_path_that_has_left() -> None:
    rollout = rolled()
    gone = ~rollout.live
    assert gone.any()
    assert not rollout.blend_weights[gone].any()


def test_divergence_is_measured_where_somebody_heard() -> None:
    rollout, diagnostics = rolled(), Diagnostics()
    add_divergence(model_of("own"), rollout, diagnostics)
    assert diagnostics.result()["blend_divergence"] > 1e-4
    silent, nothing = rolled(similarity="none"), Diagnostics()
    add_divergence(model_of("own"), silent, nothing)
    assert "blend_divergence" not in nothing.result()


def test_other_words_are_refused() -> None:
    with pytest.raises(UserError, match="unknown blends 'logit'; did you mean 'logits'"):
        rolled(blends="logit")


@pytest.mark.parametrize("blends", ["embeddings", "logits"])
def test_a_part_without_its_padding_scores_the_same(blends: str) -> None:
    whole = rolled(blends=blends)
    with torch.no_grad():
        expected = token_log_probs(model_of("own"), whole)
        for question in range(len(PROMPTS)):
            part = whole.select(slice(question, question + 1)).trimmed()
            assert part.prompt_ids.shape[1] == len(PROMPTS[question])
            assert part.tokens.shape[-1] == int(whole.lengths[question].max())
            found = token_log_probs(model_of("own"), part)
            torch.testing.assert_close(found[0], expected[question, :, : found.shape[-1]], atol=2e-5, rtol=0)


def test_scores_at_a_sampling_temperature() -> None:
    rollout = rolled(blends="embeddings", temperature=0.7)
    with torch.no_grad():
        scores = token_scores(model_of("own"), rollout, temperature=0.7)
        plain = token_scores(model_of("own"), rollout)
    torch.testing.assert_close(scores.unscaled, rollout.log_probs, atol=2e-5, rtol=0)
    assert torch.equal(plain.log_probs, plain.unscaled)
    assert (scores.entropy <= plain.entropy + 1e-5).all()
    assert scores.log_probs.mean() > plain.log_probs.mean()
    alone = rolled(blends="embeddings", similarity="none", paths=1)
    text = [*PROMPTS[0], int(alone.tokens[0, 0, 0])]
    with torch.no_grad():
        logits = model_of("own")(torch.tensor([text])).logits[0, -1]
        found = token_scores(model_of("own"), alone, temperature=0.7)
    expected = torch.distributions.Categorical(logits=logits / 0.7)
    torch.testing.assert_close(found.entropy[0, 0, 1], expected.entropy(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.log_probs[0, 0, 1], expected.log_prob(alone.tokens[0, 0, 1]), atol=2e-5, rtol=0)


def test_a_probe_is_watched_and_not_heard() -> None:
    plain = rolled(similarity="none", blends="embeddings")
    diagnostics, listening = Diagnostics(), Diagnostics()
    probed = rolled(similarity="none", blends="embeddings", diagnostics=diagnostics, probe="cosine")
    assert torch.equal(plain.tokens, probed.tokens)
    assert torch.equal(plain.log_probs, probed.log_probs)
    assert len(probed.steps) == 0
    found = diagnostics.result()
    assert found["listening_share"] == 0
    assert found["effective_peers"] > 1
    assert 0 < found["fork_share"] <= 1
    rolled(blend_weight=1e-12, blends="embeddings", diagnostics=listening)  # the same attention, as good as unheard
    for name in ("attention_entropy", "similarity_range", "fork_share", "differing_mass"):
        assert listening.result()[name] == pytest.approx(found[name], abs=1e-6)
