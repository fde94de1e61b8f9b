"""Runs of reinforcement learning: they resume bit for bit, and how a step is cut up changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from rl_subjects import config, lucky, start  # noqa: F401 (a fixture for every test)
from safetensors.torch import load_file
from test_resume import numbers, stopped

import gatewright
from gatewright.errors import RunError, UserError
from gatewright.run import Run

GATE = ["rl.blend_weight=0.5", "rl.temperature=0.5"]


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return start(tmp_path_factory.mktemp("start"))


def weights(run: Run) -> dict[str, torch.Tensor]:
    """Model and gate after the last step."""
    folder = run.checkpoint("last")
    files = [folder / name for name in ("model.safetensors", "companion.safetensors")]
    return {
        f"{file.name}/{name}": tensor for file in files if file.is_file() for name, tensor in load_file(file).items()
    }


def run_at(run: Run, step: int) -> Path:
    """The checkpoint of a step."""
    return next(path for path in run.checkpoints() if path.name == f"step-{step}")


@pytest.mark.parametrize(
    "overrides",
    [
        ["rl.similarity=luong", "rl.gate_learning_rate=0.02", "rl.gate_warmup_steps=3", "rl.kl_weight=0.1"],
        ["rl.similarity=jsd", "rl.blend_weight={minimum: 0.1, maximum: 0.9}", "rl.eval_gated=true"],
        ["rl.similarity=bahdanau", "rl.blend=logits", "rl.clip=0.1", "rl.updates_per_rollout=2"],
        ["rl.similarity=cosine", "rl.temperature=null", "rl.calibrate_peers=1.6", "rl.rollout_questions=3"],
        ["rl.similarity=none", "rl.shuffle_rewards=true", "rl.sampling_temperature=0.8", "rl.sampling_top_p=0.9"],
    ],
    ids=["learnable, KL", "adaptive", "logits, clipped", "calibrated", "plain, shuffled"],
)
def test_a_resumed_run_equals_the_uninterrupted_one(
    init: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    given = [*GATE, *overrides]
    whole = gatewright.train(config(init, tmp_path / "whole", *given), console=console)
    stopped(config(init, tmp_path / "parts", *given), 3, monkeypatch, console)
    parts = gatewright.train(config(init, tmp_path / "parts", *given, "resume=auto"), console=console)
    assert numbers(parts) == numbers(whole)
    ours, theirs = weights(parts), weights(whole)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)
    earlier = load_file(run_at(whole, 2) / "model.safetensors")
    assert any(not ours[f"model.safetensors/{name}"].equal(tensor) for name, tensor in earlier.items())
    gated = overrides[0] != "rl.similarity=none"
    assert any(name.startswith("companion") for name in ours) == gated
    for name in ("luong", "bahdanau"):
        if overrides[0].endswith(name):  # starts at 0
            moved = "similarity.key.weight" if name == "luong" else "similarity.score.weight"
            assert ours[f"companion.safetensors/{moved}"].any()


def test_what_a_run_records(init: Path, tmp_path: Path, console: Console) -> None:
    run = gatewright.train(
        config(init, tmp_path / "run", *GATE, "rl.similarity=jsd", "rl.kl_weight=0.1"), console=console
    )
    first, *_, last = run.train_records()
    assert first["kl"] == 0  # the reference is the model at the start
    assert last["kl"] > 0
    for record in (first, last):
        assert 0 <= record["accuracy"] == record["reward"] <= 1
        assert 0 <= record["logprob_gap"] < 1e-4
        assert 1 <= record["completion_length"] <= 6
        assert 1 <= record["gate.effective_peers"] <= 3
        assert record["gate.blend_divergence"] > 0
        assert record["gate.blend_weight"] == pytest.approx(0.5)
        assert record["tokens"] >= record["step"] * 16
    shares = ("zero_variance", "cut_share", "gate.fork_share", "gate.differing_mass", "gate.listening_share")
    assert all(0 <= first[name] <= 1 for name in shares)
    assert run.summary is not None
    assert run.summary["val_accuracy"] == run.eval_records()[-1]["val_accuracy"]
    assert set(run.eval_records()[-1]) >= {"val_accuracy", "val_accuracy_sampled", "val_completion_length"}
    shown = json.loads((run.path / "listening.json").read_text())
    assert shown["step"] == 4
    assert len(shown["paths"]) == 4
    for one in shown["heard"]:
        assert sum(one["peers"].values()) == pytest.approx(1, abs=1e-5)
        assert str(one["path"]) not in one["peers"]


def test_without_listening_statistics_are_those_of_a_probe(init: Path, tmp_path: Path, console: Console) -> None:
    run = gatewright.train(config(init, tmp_path / "run", "rl.similarity=none"), console=console)
    first = run.train_records()[0]
    assert first["gate.listening_share"] == 0
    assert 1 <= first["gate.effective_peers"] <= 3
    assert 0 < first["gate.fork_share"] <= 1
    assert "gate.blend_weight" not in first
    silent = gatewright.train(
        config(init, tmp_path / "silent", "rl.similarity=jsd", "rl.blend_weight=0"), console=console
    )
    for name in ("loss", "reward", "grad_norm", "entropy"):
        assert [record[name] for record in silent.train_records()] == [record[name] for record in run.train_records()]


@pytest.mark.parametrize("normalisation", ["token", "sequence", "constant"])
def test_micro_batches_add_up_to_the_step(init: Path, tmp_path: Path, console: Console, normalisation: str) -> None:
    def after_one_step(out: str, *overrides: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        given = [*GATE, "rl.similarity=luong", f"rl.loss_normalisation={normalisation}", "rl.steps=1", *overrides]
        run = gatewright.train(config(init, tmp_path / out, *given), console=console)
        return run.train_records()[0], weights(run)

    (first, ours), (second, theirs) = (
        after_one_step("one", "train.batch_size=4", "train.grad_accumulation=1"),
        after_one_step("four", "train.batch_size=1", "train.grad_accumulation=4", "rl.rollout_questions=3"),
    )
    for name in ("loss", "grad_norm", "reward", "entropy", "completion_length"):
        assert first[name] == pytest.approx(second[name], rel=1e-4, abs=1e-6), name
    for name in ours:
        # AdamW's first step has the size of the learning rate whatever the gradient's, so rounding shows where it is 0
        torch.testing.assert_close(ours[name], theirs[name], atol=2e-4, rtol=0, msg=name)


def test_rewards_are_what_it_learns_from(init: Path, tmp_path: Path, console: Console) -> None:
    given = ["rl.steps=12", "train.learning_rate=1e-2", "train.batch_size=8", "rl.paths=8", "train.eval_every=12"]
    learned = gatewright.train(config(init, tmp_path / "learned", *given), console=console)
    control = gatewright.train(config(init, tmp_path / "control", *given, "rl.shuffle_rewards=true"), console=console)
    start_at = learned.train_records()[0]["accuracy"]
    assert learned.train_records()[-1]["accuracy"] > start_at + 0.3
    assert control.train_records()[-1]["accuracy"] < start_at + 0.15


def test_scores_that_are_not_those_of_the_rollout_end_the_run(
    init: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatewright.rl.learning import update

    def deaf(model: Any, rollout: Any, **options: Any) -> Any:
        return token_scores(model, rollout, **{**options, "attention": torch.zeros_like(rollout.attention)})

    token_scores = update.token_scores
    monkeypatch.setattr(update, "token_scores", deaf)
    with pytest.raises(RunError, match=r"step 1: recomputed log-probabilities differ .* more than rl.tolerance=0.001"):
        gatewright.train(config(init, tmp_path / "run", *GATE, "rl.similarity=jsd"), console=console)
    assert Run(tmp_path / "run").status == "failed"


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["init=null"], "rl needs init="),
        (["train.compile=true"], "train.compile=true: rl generates token by token"),
        (["rl.similarity=jds"], "unknown similarity 'jds'; did you mean 'jsd'"),
        (["rl.calibrate_peers=2"], "there is no temperature to choose for rl.similarity=none"),
        (["rl.max_new_tokens=3"], "max_new_tokens=3: task 'lucky' needs 6"),
        (["rl.chat=true"], "the tokenizer char has no chat format"),
        (["task=gcd"], "task 'gcd': the tokenizer of the model, char, cannot write it"),
        (["rl.lora={r: 2}"], "rl.lora is for models of transformers"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    init: Path, tmp_path: Path, console: Console, overrides: list[str], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        gatewright.train(config(init, tmp_path / "run", *overrides), console=console)
    assert not (tmp_path / "run").exists()


def test_a_question_of_both_kinds_is_refused(
    init: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatewright.rl.tasks import generated

    monkeypatch.setattr(generated, "HELD_OUT", dict.fromkeys(generated.HELD_OUT, (0.0, 1.0)))
    with pytest.raises(UserError, match=r"test question 'validation-0-.*' is training question"):
        gatewright.train(config(init, tmp_path / "run", "rl.train_questions=2000"), console=console)
