"""Perplexities of runs and of Hugging Face models on one text, against sums made token by token."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluated_runs import SENTENCE, corpus, train
from torch import nn
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, GPT2Model

import gatewright as gw
from gatewright.errors import UserError
from gatewright.evaluate import evaluate_run, evaluate_text, evaluation_text, find_target
from gatewright.evaluate.perplexity import in_batches, windows
from gatewright.evaluate.text import EvaluationText, text_config
from gatewright.hf import save
from gatewright.run import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text")


@pytest.fixture(scope="module")
def chosen(folder: Path) -> list[str]:
    return corpus(folder)


@pytest.fixture(scope="module")
def runs(folder: Path, chosen: list[str]) -> dict[str, Run]:
    return {name: train(folder, name, chosen) for name in ("llama", "gpt2", "paglu")}


@pytest.fixture(scope="module")
def text(chosen: list[str]) -> EvaluationText:
    config = text_config(chosen)
    assert config is not None
    return evaluation_text(config)


@pytest.fixture(scope="module")
def exported(folder: Path, runs: dict[str, Run]) -> dict[str, Path]:
    return {
        "native": save(runs["llama"], folder / "native", native=True),
        "paglu": save(runs["paglu"], folder / "exported-paglu"),
    }


@torch.no_grad()
def nll_token_by_token(model: nn.Module, prefix: int, ids: list[int], length: int) -> float:
    """−ln p of one document, every token on its own from the tokens of its window before it."""
    stream, total = [prefix, *ids], 0.0
    for place in range(1, len(stream)):
        end = min(-(-place // length) * length, len(ids))  # of the window that the token is in
        seen = torch.tensor([stream[max(0, end - length) : place]])
        total -= model(seen).logits[0, -1].double().log_softmax(-1)[stream[place]].item()
    return total


@pytest.mark.parametrize("name", ["llama", "gpt2", "paglu"])
def test_every_token_of_every_document_is_scored_once(name: str, runs: dict[str, Run], text: EvaluationText) -> None:
    run = runs[name]
    model, tokenizer = run.model(), run.tokenizer
    documents = [tokenizer.encode(document) for document in text.documents]
    expected = sum(nll_token_by_token(model, tokenizer.eot_id, ids, 32) for ids in documents)
    assert len(documents) == 2
    assert all(len(ids) > 40 for ids in documents)

    found = evaluate_text(find_target(str(run.path)), text)
    joined = "".join(text.documents)
    scored = found.evaluation
    assert scored.tokens == sum(map(len, documents))
    assert scored.val_loss == pytest.approx(expected / scored.tokens, rel=1e-5)
    assert scored.val_perplexity_word == pytest.approx(
        math.exp(expected / len(" ".join(text.documents).split())), rel=1e-4
    )
    assert scored.val_perplexity_byte == pytest.approx(math.exp(expected / len(joined.encode())), rel=1e-5)
    assert (found.block_size, found.unknown_tokens, found.precision) == (32, 0, "float32")

    again = evaluate_text(find_target(str(run.path)), text, batch_size=1, block_size=7)
    shorter = sum(nll_token_by_token(model, tokenizer.eot_id, ids, 7) for ids in documents)
    assert again.evaluation.val_loss == pytest.approx(shorter / scored.tokens, rel=1e-5)
    assert abs(shorter - expected) > 1e-2


def test_a_run_and_its_exports_score_alike(
    runs: dict[str, Run], exported: dict[str, Path], text: EvaluationText
) -> None:
    for run, place in (("llama", "native"), ("paglu", "paglu")):
        ours = evaluate_text(find_target(str(runs[run].path)), text).as_dict()
        theirs = evaluate_text(find_target(str(exported[place])), text).as_dict()
        assert theirs == {
            key: pytest.approx(value, rel=1e-5) if isinstance(value, float) else value for key, value in ours.items()
        }


def test_scores_are_about_the_same_bytes_whatever_the_tokenizer(runs: dict[str, Run], text: EvaluationText) -> None:
    found = {name: evaluate_text(find_target(str(run.path)), text) for name, run in runs.items()}
    assert len({outcome.evaluation.tokens for outcome in found.values()}) == 3
    assert len({outcome.as_dict()["text"]["sha256"] for outcome in found.values()}) == 1
    for outcome in found.values():
        scored = outcome.evaluation
        total = scored.val_loss * scored.tokens
        assert total == pytest.approx(math.log(scored.val_perplexity_byte or 0) * text.bytes, rel=1e-9)
        assert total == pytest.approx(math.log(scored.val_perplexity_word or 0) * text.words, rel=1e-9)


def test_the_text_is_cut_before_it_is_tokenized(chosen: list[str], text: EvaluationText) -> None:
    config = text_config([*chosen, "data.cache_dir=null"])
    assert config is not None
    whole = "".join(text.documents)
    assert text.describe()["documents"] == 2
    first = len(text.documents[0].encode())
    for limit in (1, 30, first, first + 1, first + 40, 10**6):
        part = evaluation_text(config, limit)
        assert "".join(part.documents) == whole.encode()[:limit].decode(errors="ignore")
        assert limit - 1 <= part.bytes <= limit or part.bytes == text.bytes
        assert len(part.documents) == (1 if limit <= first else 2)
    cuts = {evaluation_text(config, limit).documents[0] for limit in range(15, 25)}
    assert len(cuts) == 9  # ï has two bytes, and is not cut in two
    held_out = {path.read_text(encoding="utf-8") for path in Path(config.path or "").iterdir()}
    assert set(text.documents) <= held_out


def test_windows_hold_every_token_once_and_batches_hold_all_windows() -> None:
    ids = np.arange(1, 24)
    rows = list(windows(ids, 99, 5))
    assert [row.tolist() for row in rows[0]] == [[99, 1, 2, 3, 4], [1, 2, 3, 4, 5]]
    assert [row.tolist() for row in rows[-1]] == [[18, 19, 20, 21, 22], [-100, -100, 21, 22, 23]]
    assert [row.tolist() for row in next(windows(ids[:2], 99, 5))] == [[99, 1], [1, 2]]
    batches = in_batches([*rows, *windows(ids[:2], 99, 5)], 4)
    assert [tuple(inputs.shape) for inputs, _ in batches] == [(4, 5), (2, 5)]
    scored = torch.cat([labels[labels != -100] for _, labels in batches])
    assert sorted(scored.tolist()) == sorted([*range(1, 24), 1, 2])


def test_what_a_tokenizer_does_not_know_is_counted(runs: dict[str, Run], chosen: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("It was ǂ of ǂ times.")
    (tmp_path / "b.txt").write_text("the best ǂ of times.")
    config = text_config(["data=files", f"data.path={tmp_path}", *chosen[2:]])
    assert config is not None
    other = evaluation_text(config)
    expected = other.documents[0].count("ǂ")
    assert expected > 0
    assert evaluate_text(find_target(str(runs["gpt2"].path)), other).unknown_tokens == expected
    assert evaluate_text(find_target(str(runs["paglu"].path)), other).unknown_tokens == 0


def test_a_run_is_not_scored_on_what_it_may_have_learned(runs: dict[str, Run], chosen: list[str]) -> None:
    target = find_target(str(runs["llama"].path))
    for override, said in (
        ("data.validation_fraction=0.2", "data.validation_fraction=0.4, so it may have learned this text"),
        ("data.split_seed=1", "data.split_seed=0, so it may"),
        ("data.max_documents=4", "data.max_documents=None, so it may"),
    ):
        config = text_config([*chosen, override])
        assert config is not None
        with pytest.raises(UserError, match=said):
            evaluate_text(target, evaluation_text(config))


def test_the_training_score_is_still_there(runs: dict[str, Run]) -> None:
    run = runs["llama"]
    assert run.summary is not None
    last = evaluate_run(run, which="last")
    assert last.val_loss == pytest.approx(run.summary["final_val_loss"], rel=1e-6)
    assert evaluate_run(run, which="last", batch_size=1).val_loss == pytest.approx(last.val_loss, rel=1e-6)
    assert evaluate_run(run, which="last", block_size=8).val_loss != pytest.approx(last.val_loss, rel=1e-4)
    with pytest.raises(UserError, match=r"--block-size 33: the context of .*llama is 32 tokens"):
        evaluate_run(run, block_size=33)


def small(**settings: int) -> GPT2Config:
    size = {"n_layer": 1, "n_head": 2, "n_embd": 16, "n_positions": 32, "vocab_size": 300}
    return GPT2Config(**size | settings, bos_token_id=0, eos_token_id=0)


def with_tokenizer(folder: Path, runs: dict[str, Run], model: nn.Module) -> str:
    model.save_pretrained(folder)  # type: ignore[operator]
    runs["llama"].tokenizer.save(folder)
    return str(folder)


def test_a_patched_model_is_scored_with_its_gates(runs: dict[str, Run], text: EvaluationText, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(small(n_embd=64))
    plain = evaluate_text(find_target(with_tokenizer(tmp_path / "plain", runs, model)), text).evaluation.val_loss
    gw.patch(model, alpha=0.9)
    gated = evaluate_text(find_target(with_tokenizer(tmp_path / "gated", runs, model)), text).evaluation.val_loss
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "gated")
    documents = [tokenizer(document)["input_ids"] for document in text.documents]
    expected = sum(nll_token_by_token(model.eval(), tokenizer.bos_token_id, ids, 32) for ids in documents)
    assert gated == pytest.approx(expected / sum(map(len, documents)), rel=1e-5)
    assert abs(gated - plain) > 1e-4


def test_models_that_would_be_scored_wrongly_are_refused(
    runs: dict[str, Run], text: EvaluationText, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 300}
    encoder = BertForMaskedLM(BertConfig(**size, num_hidden_layers=1, max_position_embeddings=32))
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    refused = {
        "sees the tokens it is to predict": encoder,
        "lack lm_head.weight, so it was not saved as a causal": GPT2Model(small(tie_word_embeddings=False)),
        "its tokenizer has a token 2.., its model only 200 tokens": GPT2LMHeadModel(small(vocab_size=200)),
    }
    for number, (said, model) in enumerate(refused.items()):
        target = find_target(with_tokenizer(tmp_path / str(number), runs, model))
        with pytest.raises(UserError, match=said):
            evaluate_text(target, text)
    GPT2LMHeadModel(small()).save_pretrained(tmp_path / "bare")
    with pytest.raises(UserError, match="it has no tokenizer, or an empty one"):
        evaluate_text(find_target(str(tmp_path / "bare")), text)


def test_code_that_comes_with_a_model_is_not_executed(tmp_path: Path) -> None:
    folder, ran = tmp_path / "remote", tmp_path / "ran"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Theirs", "AutoModelForCausalLM": "theirs.Model"}}'
    )
    (folder / "theirs.py").write_text(f"open({str(ran)!r}, 'w')\nfrom transformers import PreTrainedConfig as Theirs\n")
    with pytest.raises(UserError, match="is neither a run directory nor a model that transformers can open"):
        find_target(str(folder))
    assert not ran.exists()


def test_reduced_precision_is_near(runs: dict[str, Run], exported: dict[str, Path], text: EvaluationText) -> None:
    exact = evaluate_text(find_target(str(exported["native"])), text).evaluation
    rough = evaluate_text(find_target(str(exported["native"])), text, precision="bf16")
    assert rough.precision == "bf16"
    assert rough.evaluation.val_loss == pytest.approx(exact.val_loss, rel=5e-3)
    assert rough.evaluation.val_loss != exact.val_loss
    assert SENTENCE in "".join(text.documents)
