"""The verbs of reinforcement learning, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from gatewright.cli import app
from gatewright.errors import UserError
from gatewright.run import Run

SMALL = ["model.n_layer=1", "model.n_head=2", "model.n_embd=16", "train.max_steps=2", "train.warmup_steps=1"]
RL = ["rl.steps=1", "train.warmup_steps=0", "train.batch_size=2", "rl.paths=3", "rl.train_questions=64"]


def call(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["rl", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gatewright.rl.supervised import work

    folder = tmp_path_factory.mktemp("rl") / "start"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "TRAIN", 64)
        patch.setattr(work, "HELD_OUT", 8)
        call("prepare", "task=gcd", "task.fault=0.25", *SMALL, "device=cpu", f"out={folder}")
    return folder


@pytest.fixture(scope="module")
def learned(start: Path) -> Path:
    folder = start.parent / "learned"
    given = ["rl.similarity=luong", "rl.blend_weight=0.3", "rl.eval_questions=4", "rl.eval_gated=true", "device=cpu"]
    call("train", "task=gcd", "task.fault=0.25", f"init={start}", *RL, *given, f"out={folder}")
    return folder


def test_prepare_leaves_a_run_that_knows_its_task(start: Path) -> None:
    run = Run(start)
    assert run.config.task == {"name": "gcd", "fault": 0.25}
    assert run.config.rl is None
    assert run.summary is not None
    assert set(run.summary) >= {"val_accuracy", "val_accuracy_sampled", "final_val_loss", "val_token_accuracy"}
    assert run.config.model.vocab_size == run.tokenizer.vocab_size == 16
    assert run.tokenizer.decode(run.tokenizer.encode("48,36=")) == "48,36="


def test_train_goes_on_from_it(learned: Path, start: Path) -> None:
    run = Run(learned)
    assert run.config.model == Run(start).config.model
    assert run.config.rl is not None
    assert (run.config.rl.paths, run.config.train.max_steps) == (3, 1)
    assert run.summary is not None
    assert set(run.summary) >= {"val_accuracy", "val_accuracy_sampled", "val_accuracy_gated"}
    assert (learned / "listening.json").is_file()


def test_eval_asks_in_every_way(learned: Path) -> None:
    found = json.loads(call("eval", str(learned), "--questions", "12", "--samples", "3", "--json"))
    assert (found["task"], found["split"], found["questions"]) == ("gcd", "test", 12)
    assert found["gate"] == "luong, λ = 0.3, T = 0.1, blending embeddings"
    assert list(found["pass_at"]) == ["1", "2", "3"]
    assert found["pass_at"]["1"] == pytest.approx(found["sampled"])
    assert found["greedy"]["low"] <= found["greedy"]["share"] <= found["greedy"]["high"]
    assert found["contamination"] == 0
    assert found["scoring"] == {"scored": 12 * 7, "raised": 0, "timed_out": 0}
    shown = call("eval", str(learned), "--questions", "12", "--samples", "3", "--similarity", "jsd")
    assert "pass@3" in shown
    assert "jsd, λ = 0.1" in " ".join(shown.split())


def test_eval_opens_the_gate_that_was_learned(learned: Path) -> None:
    from safetensors.torch import load_file

    from gatewright.evaluate import find_target
    from gatewright.rl.judging import open_reasoner

    saved = load_file(Run(learned).checkpoint("best") / "companion.safetensors")
    gate = open_reasoner(find_target(str(learned))).gate
    assert all(tensor.equal(saved[name]) for name, tensor in gate.state_dict().items())


def test_sample_shows_paths_and_whom_they_heard(learned: Path) -> None:
    shown = call("sample", str(learned), "--paths", "3")
    assert "reward" in shown
    assert "<" in shown
    (found,) = json.loads(call("sample", str(learned), "--prompt", "48,36=", "--paths", "3", "--json"))
    assert [path["reward"] for path in found["paths"]] == [None] * 3
    assert all(set(one["peers"]) <= {"0", "1", "2"} - {str(one["path"])} for one in found["heard"])


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A tiny Qwen2 of transformers with the tokenizer of letters and a chat format, as a hub would have it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    backend = Tokenizer(models.BPE({**{chr(c): c - 32 for c in range(32, 127)}, "<end>": 95, "<user>": 96}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", extra_special_tokens=["<user>"],
        chat_template="{% for m in messages %}<user>{{ m['content'] }}{% endfor %}<end>",
    )  # fmt: skip
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": 95, "eos_token_id": 95}
    model = Qwen2ForCausalLM(Qwen2Config(**size, **ends, num_key_value_heads=1, vocab_size=97))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_model_of_transformers_is_asked_in_its_chat_format(foreign: Path, learned: Path) -> None:
    from gatewright.evaluate import find_target
    from gatewright.rl.judging import open_reasoner

    plain, chat = (open_reasoner(find_target(str(foreign)), task="gcd", chat=chat) for chat in (None, True))
    question = plain.form.task.questions("test", 1)[0]
    written = [reasoner.form.tokenizer.decode(reasoner.form.prompt(question), False) for reasoner in (plain, chat)]
    assert written == [question.prompt, f"<user>{question.prompt}<end>"]
    given = ["--task", "gcd", "--questions", "4", "--samples", "2", "--chat"]
    assert json.loads(call("eval", str(foreign), *given, "--json"))["questions"] == 4
    with pytest.raises(UserError, match=r"rl\.chat=true: the tokenizer char has no chat format"):
        call("eval", str(learned), *given)


def test_another_task_of_the_same_alphabet_can_be_asked(learned: Path) -> None:
    with pytest.raises(UserError, match="task 'countdown': the tokenizer of the model, char, cannot write it"):
        call("eval", str(learned), "--task", "countdown")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["prepare"], "task= is missing: name one of arc_c"),
        (["prepare", "task=gdc"], "unknown task 'gdc'; did you mean 'gcd'"),
        (["train", "task=gcd"], "rl needs init="),
        (["prepare", "task=gcd", "rl=grpo"], "reinforcement learning: gatewright rl train"),
    ],
)
def test_mistakes(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=complaint):
        call(*arguments, f"out={tmp_path / 'x'}")
