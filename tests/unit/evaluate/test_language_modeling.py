"""Loss, perplexities and accuracy against numbers worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from gatewright.data import Units
from gatewright.errors import RunError
from gatewright.evaluate import language_modeling
from gatewright.evaluate.language_modeling import evaluate


class Bigram(nn.Module):
    """Knows one fixed distribution of the next token for each token: ``(V, V)`` logits."""

    def __init__(self, probabilities: list[list[float]]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(probabilities).log())
        self.modes: list[bool] = []

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        self.modes.append(self.training)
        return SimpleNamespace(logits=self.table[input_ids])


@pytest.fixture
def model() -> Bigram:
    return Bigram([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])


BATCHES = [
    (torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 2]])),  # p = 0.5, 0.1, 0.6
    (torch.tensor([[1, 0, 0]]), torch.tensor([[1, -100, -100]])),  # p = 0.8; the rest is not scored
]


def test_numbers_over_all_targets_whatever_the_batches(model: Bigram) -> None:
    outcome = evaluate(model, BATCHES, units=Units(tokens=4, words=2, bytes=8))
    nll = -math.log(0.5 * 0.1 * 0.6 * 0.8)
    assert outcome.val_loss == pytest.approx(nll / 4, rel=1e-6)
    assert outcome.val_perplexity == pytest.approx(math.exp(nll / 4), rel=1e-6)
    assert outcome.val_perplexity_word == pytest.approx(math.exp(nll / 2), rel=1e-6)
    assert outcome.val_perplexity_byte == pytest.approx(math.exp(nll / 8), rel=1e-6)
    assert outcome.val_token_accuracy == 0.75  # the second is 1 where 2 is asked
    assert outcome.tokens == 4
    together = [tuple(torch.cat(parts) for parts in zip(*BATCHES, strict=True))]
    assert evaluate(model, together).val_loss == pytest.approx(outcome.val_loss, rel=1e-7)  # type: ignore[arg-type]


def test_chunks_of_positions_change_nothing(model: Bigram, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(model, BATCHES)
    monkeypatch.setattr(language_modeling, "CHUNK", 2)
    chunked = evaluate(model, BATCHES)
    assert chunked.val_loss == pytest.approx(whole.val_loss, rel=1e-12)
    assert chunked.val_token_accuracy == whole.val_token_accuracy


def test_model_is_in_evaluation_mode_and_then_as_before(model: Bigram) -> None:
    for training in (True, False):
        model.train(training)
        model.modes.clear()
        evaluate(model, BATCHES)
        assert model.modes == [False, False]
        assert model.training is training


def test_unknown_units_give_no_perplexity(model: Bigram) -> None:
    outcome = evaluate(model, BATCHES)
    assert outcome.val_perplexity_word is outcome.val_perplexity_byte is None
    assert set(outcome.numbers()) == {
        "val_loss", "val_perplexity", "val_perplexity_word", "val_perplexity_byte", "val_token_accuracy"
    }  # fmt: skip


def test_hopeless_models_have_infinite_perplexity_not_an_error() -> None:
    hopeless = Bigram([[1.0, 1e-38, 1e-38]] * 3)
    outcome = evaluate(hopeless, [(torch.zeros(1, 20).long(), torch.ones(1, 20).long())], units=Units(20, 1, 20))
    assert outcome.val_perplexity_word == math.inf
    assert outcome.val_loss == pytest.approx(-math.log(1e-38), rel=1e-3)


def test_nothing_to_score_is_an_error(model: Bigram) -> None:
    with pytest.raises(RunError, match="holds no scored token"):
        evaluate(model, [(torch.zeros(1, 2).long(), torch.full((1, 2), -100))])
