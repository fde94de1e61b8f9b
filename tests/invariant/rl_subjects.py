"""A task that chance can solve, and tiny random models to start from, so that there is something to learn at once."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

import gatewright as gw
from gatewright.config import Config
from gatewright.hf import to_hf
from gatewright.rl.rewards import AnswerReward
from gatewright.rl.tasks import Question, SmallTask, task_classes


class LuckyReward(AnswerReward):
    """1 for any completion with one of the lucky digits."""

    def read(self, text: str) -> str:
        return text

    def score(self, completion: str, answer: str) -> float:
        return float(any(digit in completion for digit in answer))


class Lucky(SmallTask):
    """``012=``: write a 4 or a 7, wherever."""

    name = "lucky"
    alphabet = "0123456789=#$"

    def __init__(self, *, fault: float = 0.5) -> None:
        self.fault = fault

    @property
    def max_trace_length(self) -> int:
        return 6

    def draw(self, random: Random) -> Question:
        return Question("", f"{random.randint(0, 999):03d}=", "47")

    def make_reward(self) -> LuckyReward:
        return LuckyReward(self.delimiter)

    def trace(self, question: Question, random: Random, fault: float) -> str:
        return "6#6$" if random.random() < fault else "7#7$"


TOKENIZER = Lucky().tokenizer()


@pytest.fixture(autouse=True)
def lucky(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is there for as long as a test takes."""
    monkeypatch.setitem(task_classes, Lucky.name, Lucky)


SIZES: dict[str, Any] = {
    "vocab_size": TOKENIZER.vocab_size,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": TOKENIZER.eot_id,
}


def _own() -> Any:
    sizes = ["model=small", "model.n_layer=2", "model.n_embd=16", "model.n_head=2", "model.block_size=32"]
    sizes += ["model.embedding_scale=none", "model.tie_weights=false"]
    model = gw.build(gw.load_config([*sizes, f"model.vocab_size={TOKENIZER.vocab_size}"]).model, seed=1)
    return to_hf(model)


def _gpt2() -> Any:
    ends = {"bos_token_id": None, "eos_token_id": TOKENIZER.eot_id}
    sizes = {"vocab_size": TOKENIZER.vocab_size, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=0.3, **ends))


KINDS = {
    "own": _own,
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "gpt2": _gpt2,
}


def start(folder: Path, kind: str = "own") -> Path:
    """A folder with a random model and the task's tokenizer, for ``init``."""
    torch.manual_seed(0)
    KINDS[kind]().save_pretrained(folder)
    TOKENIZER.save(folder)
    return folder


def config(init: Path, out: Path, *overrides: str) -> Config:
    """Four steps of four questions, in two micro-batches, along four paths."""
    sizes = ["train.batch_size=2", "train.grad_accumulation=2", "rl.steps=4", "train.learning_rate=3e-3"]
    sizes += ["train.warmup_steps=0", "train.eval_every=2", "train.save_every=2", "device=cpu"]
    small = ["rl.paths=4", "rl.train_questions=64", "rl.eval_questions=8", "rl.eval_samples=2"]
    return gw.load_config(["rl=grpo", "task=lucky", f"init={init}", f"out={out}", *sizes, *small, *overrides])
