"""Reinforcement learning of Hugging Face models, with all of their weights and with adapters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console
from rl_subjects import KINDS, TOKENIZER, config, lucky, start  # noqa: F401 (a fixture for every test)
from safetensors.torch import load_file
from test_resume import numbers, stopped

import gatewright
from gatewright.errors import UserError

GATE = ["rl.similarity=luong", "rl.blend_weight=0.5", "rl.temperature=0.5", "rl.kl_weight=0.1", "rl.steps=2"]
TOKENS = torch.tensor([TOKENIZER.encode("12=7#7$")])


@pytest.mark.parametrize("kind", ["qwen2", "llama", "gpt2"])
def test_all_weights_learn_and_the_model_stays_one_of_transformers(kind: str, tmp_path: Path, console: Console) -> None:
    from transformers import AutoModelForCausalLM

    init = start(tmp_path / "start", kind)
    run = gatewright.train(config(init, tmp_path / "run", *GATE), console=console)
    first, last = run.train_records()
    assert first["kl"] == 0
    assert last["kl"] > 0
    assert max(first["logprob_gap"], last["logprob_gap"]) < 1e-4
    opened = AutoModelForCausalLM.from_pretrained(run.checkpoint("last"))
    with torch.no_grad():
        torch.testing.assert_close(opened(TOKENS).logits, run.model("last")(TOKENS).logits)
        before = AutoModelForCausalLM.from_pretrained(init)(TOKENS).logits
    assert (opened(TOKENS).logits - before).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])
def test_adapters_learn_and_nothing_else_does(kind: str, tmp_path: Path, console: Console) -> None:
    init = start(tmp_path / "start", kind)
    given = [*GATE, "rl.lora={r: 2, alpha: 4}", "rl.steps=3"]
    run = gatewright.train(config(init, tmp_path / "run", *given), console=console)
    first, *_, last = run.train_records()
    assert first["kl"] == 0  # switched off, the adapters leave the model at the start
    assert last["kl"] > 0
    saved, start_weights = (
        load_file(run.checkpoint("last") / "model.safetensors"),
        load_file(init / "model.safetensors"),
    )
    frozen = {name.replace(".base_layer", ""): tensor for name, tensor in saved.items() if "lora_" not in name}
    assert any("lora_B" in name and tensor.any() for name, tensor in saved.items())
    tied = frozen.get("lm_head.weight")  # of tied weights one name is kept
    for name, tensor in start_weights.items():
        assert torch.equal(frozen.get(name, tied), tensor), name
    merged = run.model("last")
    assert not any("lora" in name for name, _ in merged.named_parameters())
    with torch.no_grad():
        before = KINDS[kind]
        torch.manual_seed(0)
        assert (merged(TOKENS).logits - before()(TOKENS).logits).abs().max() > 1e-4


def test_merged_adapters_are_the_model_that_learned(tmp_path: Path, console: Console) -> None:
    """Its greedy answers are as often right as the last evaluation found."""
    from gatewright.rl.accuracy import answer
    from gatewright.rl.format import Format
    from gatewright.rl.tasks import make_task

    init = start(tmp_path / "start", "qwen2")
    given = ["rl.lora={r: 4, alpha: 32}", "rl.steps=6", "train.learning_rate=0.02", "train.eval_every=6"]
    run = gatewright.train(config(init, tmp_path / "run", *given, "train.batch_size=8", "rl.paths=8"), console=console)
    task = make_task("lucky")
    found = answer(run.model("last"), Format(task, TOKENIZER), task.questions("validation", 8))
    assert run.summary is not None
    assert found.accuracy == run.summary["val_accuracy"] > 0


def test_a_run_with_adapters_resumes_bit_for_bit(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = start(tmp_path / "start", "qwen2")
    given = [*GATE, "rl.lora={r: 2, alpha: 4, targets: [q_proj, v_proj]}", "rl.steps=4"]
    whole = gatewright.train(config(init, tmp_path / "whole", *given), console=console)
    stopped(config(init, tmp_path / "parts", *given), 3, monkeypatch, console)
    parts = gatewright.train(config(init, tmp_path / "parts", *given, "resume=auto"), console=console)
    assert numbers(parts) == numbers(whole)
    ours, theirs = (load_file(run.checkpoint("last") / "model.safetensors") for run in (parts, whole))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_targets_that_are_not_there(tmp_path: Path, console: Console) -> None:
    init = start(tmp_path / "start", "qwen2")
    with pytest.raises(UserError, match=r"rl.lora.targets=\['query'\]"):
        gatewright.train(config(init, tmp_path / "run", "rl.lora={targets: [query]}"), console=console)
    assert not (tmp_path / "run").exists()


def test_the_recipe_of_the_paper_on_a_tiny_model_of_the_same_class(tmp_path: Path, console: Console) -> None:
    """With its own settings, smaller batches and shorter completions."""
    init = start(tmp_path / "start", "qwen2")
    overrides = ["rl=m3po_paper", f"init={init}", f"out={tmp_path / 'run'}", "task=lucky", "rl.chat=false"]
    overrides += ["train.batch_size=2", "train.grad_accumulation=2", "rl.steps=2", "rl.max_new_tokens=6", "device=cpu"]
    overrides += ["train.warmup_steps=1", "rl.train_questions=64", "rl.eval_questions=4", "rl.rollout_questions=2"]
    run = gatewright.train(gatewright.load_config(overrides), console=console)
    assert run.config.train.precision == "bf16"
    first = run.train_records()[0]
    assert first["gate.blend_weight"] == pytest.approx(0.1)
    assert first["logprob_gap"] < 0.5
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "memory of paths" in shown
    assert "GB" in shown or "MB" in shown or "kB" in shown
