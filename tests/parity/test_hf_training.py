"""Training through transformers, accelerate, peft and TRL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from hf_designs import ids, logits, make
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

import gatewright as gw
from gatewright.data.tokenization import CharTokenizer
from gatewright.hf import GatewrightForCausalLM, to_hf
from gatewright.model.language_model import IGNORED
from gatewright.surgery.trainer_callback import AlphaCallback


def gradients(model: GatewrightForCausalLM, **inputs: Any) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of one batch."""
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 0.0) -> None:
    assert set(one) == set(other)
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], atol=tolerance, rtol=tolerance, msg=name)


@pytest.mark.parametrize(
    ("design", "reentrant"),
    [("gpt2", False), ("gpt2", True), ("qwen3", False), ("experts", False), ("one α for all layers", True)],
)
def test_checkpointed_gradients_are_the_gradients(design: str, reentrant: bool) -> None:
    model = to_hf(make(design)).train()
    batch = {"input_ids": ids(2, 12), "labels": ids(2, 12)}
    loss, expected = gradients(model, **batch)
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    assert model.is_activation_checkpointing
    entered: list[int] = []
    handle = model.model.blocks[0].attention.register_forward_hook(lambda *_: entered.append(1))
    again, found = gradients(model, **batch)
    assert len(entered) == 2  # computed, and computed again
    assert model(**batch, use_cache=True).past_key_values is None
    entered.pop()
    with pytest.raises(ValueError, match="a cache would be filled twice"):
        model.generate(ids(1, 4), max_new_tokens=2, pad_token_id=0)
    assert again == loss
    assert_same(found, expected, tolerance=1e-6)
    model.activation_checkpointing_disable()
    gradients(model, **batch)
    assert len(entered) == 3
    handle.remove()


def test_reentrant_checkpointing_of_experts_is_refused() -> None:
    model = to_hf(make("experts")).train()
    model.activation_checkpointing_enable({"use_reentrant": True})
    with pytest.raises(ValueError, match="an auxiliary loss, which checkpointing with use_reentrant loses"):
        model(input_ids=ids(2, 12), labels=ids(2, 12))


def test_the_loss_is_the_mean_over_scored_positions() -> None:
    model = to_hf(make("llama"))
    labels = ids(2, 12)
    labels[0, 5:] = IGNORED
    expected = torch.nn.functional.cross_entropy(
        logits(model, ids(2, 12))[:, :-1].reshape(-1, 101), labels[:, 1:].reshape(-1), ignore_index=IGNORED
    )
    assert model(ids(2, 12), labels=labels).loss.item() == pytest.approx(expected.item(), abs=1e-6)
    shifted = torch.cat((labels[:, 1:], torch.full((2, 1), IGNORED)), dim=1)
    assert model(ids(2, 12), shift_labels=shifted).loss.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("design", ["llama", "experts"])
def test_parts_of_a_batch_add_up_whatever_their_sizes(design: str) -> None:
    model = to_hf(make(design)).train()
    labels = ids(4, 12)
    labels[0, 3:] = labels[3, 7:] = IGNORED
    scored = (labels[:, 1:] != IGNORED).sum()
    aux = [model(ids(4, 12)[rows], labels=labels[rows]) for rows in ([0], [1, 2], [3])]
    parts = [
        model(ids(4, 12)[rows], labels=labels[rows], num_items_in_batch=scored).loss for rows in ([0], [1, 2], [3])
    ]
    shares = [(labels[rows][:, 1:] != IGNORED).sum() / scored for rows in ([0], [1, 2], [3])]
    expected = sum(output.loss * share for output, share in zip(aux, shares, strict=True))
    assert sum(parts).item() == pytest.approx(expected.item(), abs=1e-5)
    empty = model(ids(1, 4), labels=torch.full((1, 4), IGNORED), num_items_in_batch=scored)
    assert empty.loss.item() == 0


def arguments(folder: Path, **options: Any) -> dict[str, Any]:
    """What trainers need to do little and be quiet about it."""
    quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True, "logging_steps": 1}
    return {"output_dir": str(folder), "max_steps": 3, "per_device_train_batch_size": 2, **quiet, **options}


def rows(n: int = 12) -> Dataset:
    tokens = ids(n, 16).tolist()
    return Dataset.from_dict({"input_ids": tokens, "labels": tokens})


def test_trainer(tmp_path: Path) -> None:
    model = to_hf(make("scheduled"))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    options = arguments(
        tmp_path, save_strategy="steps", save_steps=2, gradient_accumulation_steps=2, learning_rate=1e-3
    )
    trainer = Trainer(
        model,
        TrainingArguments(**options, activation_checkpointing=True),
        train_dataset=rows(),
        eval_dataset=rows(4),
        callbacks=[AlphaCallback()],
    )
    trainer.train()
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    assert len(losses) == 3
    expected = make("scheduled")(ids(4, 16), labels=ids(4, 16)).loss.item()
    assert losses[0] == pytest.approx(expected, rel=0.2)  # not off by the number of accumulated batches
    assert trainer.evaluate()["eval_loss"] < expected
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert set(model.model.alphas().values()) == {1.0}  # the callback has taken α to its end
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-2")
    assert 0 < next(iter(again.model.alphas().values())) < 1
    resumed = Trainer(
        to_hf(make("scheduled")), TrainingArguments(**options), train_dataset=rows(), callbacks=[AlphaCallback()]
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.state.global_step == 3
    for name, parameter in resumed.model.named_parameters():
        torch.testing.assert_close(parameter, model.get_parameter(name), atol=1e-5, rtol=1e-4)


def test_an_adapter(tmp_path: Path) -> None:
    model = make("llama")
    expected = logits(model, ids(2, 9))
    adapted = get_peft_model(to_hf(model), LoraConfig(target_modules=["q_proj", "up_proj"], r=2, task_type="CAUSAL_LM"))
    assert torch.equal(logits(adapted, ids(2, 9)), expected)
    adapted.enable_input_require_grads()
    adapted.train()(ids(2, 9), labels=ids(2, 9)).loss.backward()
    assert all((p.grad is not None) == p.requires_grad for p in adapted.parameters())
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    changed = logits(adapted.eval(), ids(2, 9))
    merged = adapted.merge_and_unload()
    assert type(merged) is GatewrightForCausalLM
    torch.testing.assert_close(logits(merged, ids(2, 9)), changed, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(changed, expected, atol=1e-3)


def test_supervised_fine_tuning_with_trl(tmp_path: Path) -> None:
    CharTokenizer.of("abcdefgh =+0123456789").save(tmp_path / "tokenizer")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    config = gw.load_config(["model=small", "model.block_size=64", f"model.vocab_size={len(tokenizer)}"])
    model = to_hf(gw.build(config.model), eos_token_id=tokenizer.eos_token_id)
    data = Dataset.from_dict({"prompt": ["1 + 1 =", "2 + 2 ="] * 4, "completion": [" 2", " 4"] * 4})
    options = SFTConfig(**arguments(tmp_path, learning_rate=1e-2, max_length=32), dataset_num_proc=None)
    trainer = SFTTrainer(model, options, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    assert losses[-1] < losses[0]
