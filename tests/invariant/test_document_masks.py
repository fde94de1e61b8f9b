"""Documents kept apart: training and evaluation are those of one document after another, to rounding."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from test_resume import numbers, stopped
from torch import Tensor

import gatewright
from gatewright.config import Config, DataConfig, ModelConfig, TrainConfig, load_config
from gatewright.data import IGNORED
from gatewright.data.documents import apart
from gatewright.errors import UserError
from gatewright.evaluate import evaluate_run
from gatewright.evaluate.language_modeling import score
from gatewright.model import build
from gatewright.model.language_model import LanguageModel
from gatewright.training.optimizer import Optimizers
from gatewright.training.parallel import Parallel
from gatewright.training.precision import Precision
from gatewright.training.text import TextUpdater
from gatewright.training.work import Equipment

CPU = torch.device("cpu")
SEPARATOR = 9
SIZES = ModelConfig(n_layer=2, n_head=4, kv_heads=2, n_embd=32, block_size=24, vocab_size=10, init="fan_in")


def make(**parts: Any) -> LanguageModel:
    return build(dataclasses.replace(SIZES, **parts), seed=1).double()


def packed(rows: int = 4) -> tuple[Tensor, Tensor]:
    """Rows of documents of zero to twelve tokens, each followed by the separator, cut anywhere; and what follows."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(13, size=rows * 24)
    text = torch.cat([torch.tensor([*rng.integers(SEPARATOR, size=length), SEPARATOR]) for length in lengths])
    return text[5 : rows * 24 + 5].view(rows, 24), text[6 : rows * 24 + 6].view(rows, 24).clone()


def one_by_one(model: LanguageModel, input_ids: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """The reference: every document's tokens alone through the model, from its separator on; summed loss, guesses."""
    total, right = torch.zeros((), dtype=torch.float64), 0
    for ids, following in zip(input_ids.tolist(), labels.tolist(), strict=True):
        begins = sorted({0, *(place for place, token in enumerate(ids) if token == SEPARATOR)})
        for begin, end in zip(begins, [*begins[1:], len(ids)], strict=True):
            own, wanted = torch.tensor([ids[begin:end]]), torch.tensor([following[begin:end]])
            output = model(own, targets=wanted, reduction="sum")
            total = total + output.cross_entropy
            right += int(((output.logits.argmax(-1) == wanted) & (wanted != IGNORED)).sum())
    return total, right


PARTS: list[dict[str, Any]] = [
    {"position": "learned"},
    {"position": "rope", "attention": "manual"},
    {"position": "alibi"},
    {"position": ["rope", "none"], "attention": {"name": "sdpa", "window": 5}},
    {"position": "rope", "attention": "flex"},
]


@pytest.mark.parametrize("parts", PARTS, ids=str)
def test_gradients_of_a_step_are_those_of_one_document_after_another(parts: dict[str, Any]) -> None:
    input_ids, labels = packed()
    assert (input_ids == SEPARATOR).sum() > 8
    model, alone = make(**parts), make(**parts)
    config = Config(model=model.config, train=TrainConfig(batch_size=2, grad_accumulation=2))
    config.data.document_masking = True
    sampler = SimpleNamespace(batch_size=4, rows=lambda step, start, stop: (input_ids[start:stop], labels[start:stop]))
    work: Any = SimpleNamespace(sampler=sampler, tokenizer=SimpleNamespace(eot_id=SEPARATOR))
    optimizers = Optimizers(model, config.train, CPU)
    updater = TextUpdater(
        work, Equipment(model, model, None, optimizers, Precision("float32", CPU), Parallel(CPU), config)
    )
    found = updater.backward(0, model)
    loss = one_by_one(alone, input_ids, labels)[0] / labels.numel()
    loss.backward()
    torch.testing.assert_close(found.loss.double(), loss.detach(), rtol=1e-6, atol=0)
    for (name, ours), theirs in zip(model.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-8, msg=name)


def test_evaluation_is_that_of_one_document_after_another() -> None:
    input_ids, labels = packed()
    labels[3, 20:] = IGNORED
    model = make(position="learned").eval()
    (table,) = score(model, [(input_ids, labels)], separator=SEPARATOR)
    nll, right = one_by_one(model, input_ids, labels)
    assert table.sum(0).tolist() == pytest.approx([nll.item(), 92, right], rel=1e-6)
    (across,) = score(model, [(input_ids, labels)])
    assert abs(across[:, 0].sum() - nll.item()) > 0.01


def test_rows_without_a_boundary_need_no_mask() -> None:
    ids = torch.tensor([[SEPARATOR, 1, 2, 3], [4, 5, 6, 7]])
    assert apart(ids, SEPARATOR, CPU) == {}
    assert apart(ids, None, CPU) == {}
    ids[1, 3] = SEPARATOR
    assert apart(ids, SEPARATOR, CPU)["documents"].tolist() == [[1, 1, 1, 1], [0, 0, 0, 1]]


def test_it_compiles_to_one_graph() -> None:
    input_ids, _ = packed()
    model = make(position="rope")
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    given = apart(input_ids, SEPARATOR, CPU)
    torch.testing.assert_close(compiled(input_ids, **given).logits, model(input_ids, **given).logits)


def test_documents_are_for_packed_text() -> None:
    model, ids = make(), torch.zeros(1, 4, dtype=torch.long)
    for given in ({"cache": model.new_cache()}, {"attention_mask": torch.ones_like(ids)}):
        with pytest.raises(ValueError, match="documents are for packed text"):
            model(ids, documents=ids, **given)


def test_a_run_with_document_masks_resumes_and_is_evaluated_as_it_was(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    text = tmp_path / "text"
    text.mkdir()
    for number in range(200):
        (text / f"{number:03}.txt").write_text(f"gate {number % 7} opens")

    def config(out: str, masking: bool = True, **others: Any) -> Config:
        made = tiny(out, model={"position": "learned"}, **others)
        made.data = DataConfig("files", str(text), tokenizer="byte", validation_fraction=0.2)
        made.data.document_masking = masking
        return made

    whole = gatewright.train(config("whole"), console=console)
    stopped(config("parts"), 7, monkeypatch, console)
    parts = gatewright.train(config("parts", resume="auto"), console=console)
    assert numbers(parts) == numbers(whole)
    last = whole.eval_records()[-1]["val_loss"]
    assert evaluate_run(whole, which="last", device="cpu").val_loss == pytest.approx(last, rel=1e-6)
    across = gatewright.train(config("across", masking=False), console=console)
    assert abs(across.eval_records()[-1]["val_loss"] - last) > 1e-4
    with pytest.raises(UserError, match=r"data\.document_masking is False here but True in the run"):
        gatewright.train(config("whole", masking=False, resume="auto", max_steps=16), console=console)


def test_a_task_has_no_documents() -> None:
    with pytest.raises(UserError, match=r"data\.document_masking is for text"):
        load_config(["task=chain_sum", "data.document_masking=true"])
