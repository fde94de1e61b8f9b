"""What a run on a task starts from: the task itself, and the tokenizer of the model it begins with."""

from __future__ import annotations

from pathlib import Path

from gatewright.config import Config
from gatewright.data import PretrainedTokenizer, Tokenizer, load_tokenizer
from gatewright.rl.tasks import Task, make_task


def task_of(config: Config) -> Task:
    """The task of ``config.task``. Raises `UserError` for a name or a knob that is not there."""
    return make_task(config.task)


def tokenizer_of(config: Config, task: Task) -> Tokenizer:
    """The tokenizer of the model that ``config.init`` names, or that of the task's alphabet for a fresh model."""
    return task.tokenizer() if config.init is None else open_tokenizer(config.init)


def open_tokenizer(init: str) -> Tokenizer:
    """The tokenizer that belongs to a run or to a model of transformers, by folder or name."""
    from gatewright.pretrained.source import find_source

    place = find_source(init).tokenizer
    return load_tokenizer(place) if Path(place).is_dir() else PretrainedTokenizer.load(place)
