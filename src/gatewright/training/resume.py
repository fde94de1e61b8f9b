"""Whether a run may be continued with a configuration: what may differ, and what would make it another run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gatewright.config import Config
from gatewright.errors import UserError

# These change how far, how fast or how talkatively a run goes on, not what it computes. The place of the text may
# change because its content is compared by hash.
FREE = {
    "out", "resume", "device", "data.path", "data.processes", "data.cache_dir", "parallel.mode",
    "train.max_steps", "train.log_every", "train.eval_every", "train.save_every", "train.keep_last",
    "train.tensorboard", "train.threads", "train.compile", "train.recompute", "train.deterministic",
    "train.checkpoint_at_end", "train.async_checkpoints",
}  # fmt: skip


SOURCE_PATH = re.compile(r"data\.sources\.[^.]+\.path")
"""Of a mixture, what ``data.path`` is of one source."""


def check_same_run(config: Config, recorded: Config, folder: Path) -> None:
    """Raise `UserError` naming the first key in which ``config`` asks for another run than the one in ``folder``.

    How a batch is split into micro-batches may change, its size may not. The vocabulary's size is not compared while
    the data still have to set it.
    """
    ours, theirs = _comparable(config), _comparable(recorded)
    if config.data.vocabulary == "tokenizer":
        theirs["model.vocab_size"] = ours["model.vocab_size"]
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            raise UserError(
                f"cannot resume {folder}: {key} is {ours.get(key)!r} here but {theirs.get(key)!r} in the run; "
                "use the run's value, or another out= for a new run"
            )


def check_same_content(ours: Mapping[str, Any], recorded: Mapping[str, Any] | None, folder: Path) -> None:
    """Raise `UserError` if the text or tokens behind ``describe()`` are not those the run was trained on."""
    for key in ("content_sha256", "tokenizer"):
        if recorded is not None and ours[key] != recorded.get(key):
            what = "text" if key == "content_sha256" else "tokenizer"
            raise UserError(f"{folder}: the {what} of data.source is no longer what the run was trained on")


def _comparable(config: Config) -> dict[str, Any]:
    values = asdict(config)
    values["plugins"] = {Path(path).name: content for path, content in config.plugins.items()}  # files may move
    flat = dict(_flatten(values))
    flat["train.batch_size x train.grad_accumulation"] = flat.pop("train.batch_size") * flat.pop(
        "train.grad_accumulation"
    )
    return {key: value for key, value in flat.items() if key not in FREE and not SOURCE_PATH.fullmatch(key)}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs
