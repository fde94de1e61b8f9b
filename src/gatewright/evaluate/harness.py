"""lm-eval's tasks found and loaded, and its warnings gathered."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewright.data.extras import import_extra
from gatewright.errors import UserError, did_you_mean

OFFLINE = "HF_EVALUATE_OFFLINE"
"""The switch of the library ``evaluate``, both in the environment and in its settings."""


class Heard(logging.Handler):
    """What a library logs, counted by message instead of printed line by line; warnings with their numbers as N."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join(record.getMessage().split())
        self.messages[re.sub(r"\d+", "N", message) if record.levelno >= logging.WARNING else message] += 1


@contextlib.contextmanager
def listening(name: str, level: int = logging.WARNING) -> Iterator[Counter[str]]:
    """Gather what the logger ``name`` and those below it say from ``level`` on; nothing of it reaches the terminal."""
    logger, handler = logging.getLogger(name), Heard()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield handler.messages
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


@contextlib.contextmanager
def no_code_from_the_hub() -> Iterator[None]:
    """Keep ``evaluate``, in which lm-eval looks for metrics that it does not have, from fetching code to run."""
    before = os.environ.get(OFFLINE)
    os.environ[OFFLINE] = "1"  # read when evaluate is imported, which takes seconds and may never be needed
    already = sys.modules.get("evaluate.config")
    was_offline = getattr(already, OFFLINE, before is not None)
    if already is not None:
        setattr(already, OFFLINE, True)
    try:
        yield
    finally:
        os.environ.pop(OFFLINE)
        if before is not None:
            os.environ[OFFLINE] = before
        if (config := sys.modules.get("evaluate.config")) is not None:
            setattr(config, OFFLINE, was_offline)


@dataclass(frozen=True)
class Tasks:
    """Tasks of lm-eval, ready to be asked."""

    asked: list[Any]
    """What the names stand for: tasks, and groups with theirs."""
    leaves: dict[str, Any]
    """Every single task by its name."""


def load_tasks(names: Sequence[str], folder: Path | None = None) -> Tasks:
    """The tasks, groups and tags called ``names``, or in files (YAML) of these names; those in ``folder`` come first.

    Their questions are read, from local files or from the hub. Raises `UserError` for a name that nothing has and for a
    task that cannot be loaded.
    """
    if folder is not None and not folder.is_dir():
        raise UserError(f"--task-path {folder}: there is no such folder")
    if not (names := list(dict.fromkeys(names))):
        raise UserError("--tasks names no task")
    with listening("lm_eval", logging.DEBUG) as heard:
        manager = _manager(names, folder)
        for name in names:
            if name not in manager.task_index and not _is_file(name):
                left_out = [message for message in heard if folder and message.startswith(f"Skip {folder}")]
                why = f"; {left_out[0].removeprefix('Skip ')}" if left_out else ""
                raise UserError(f"unknown task '{name}'{did_you_mean(name, manager.all_tasks)}{why}")
            settings = getattr(manager.task_index.get(name), "cfg", None) or {}
            _check_metrics(name, settings.get("metric_list"), settings.get("process_results"))
        asked = [item for name in names for item in _load(manager, name)]
        leaves = _attempt(", ".join(names), lambda: manager.load(asked))["tasks"]  # refuses a task asked for twice
        for name, task in leaves.items():
            _check_metrics(name, getattr(task.config, "metric_list", None), task.config.process_results)
    return Tasks(asked, leaves)


def _manager(names: Sequence[str], folder: Path | None) -> Any:
    """lm-eval's index of tasks; without its own thousands, which take half a minute, where ``folder`` has all names."""
    tasks = import_extra("lm_eval.tasks", "eval", "--tasks")
    local = tasks.TaskManager(include_path=folder, include_defaults=False)
    # a group may have members from elsewhere
    own = {name for name, entry in local.task_index.items() if entry.kind.name != "GROUP"}
    if all(name in own or _is_file(name) for name in names):
        return local
    return tasks.TaskManager(include_path=folder)


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) and Path(name).is_file()


def _load(manager: Any, name: str) -> list[Any]:
    loaded = _attempt(name, lambda: manager.load([name]))
    return list(loaded["groups"].values())[:1] or list(loaded["tasks"].values())  # a group stands before its members


def _attempt(name: str, call: Any) -> Any:
    """What ``call`` returns; whatever a task's file, data or functions raise is about the task."""
    try:
        with no_code_from_the_hub():
            return call()
    except Exception as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise UserError(f"task {name} cannot be loaded ({type(error).__name__}: {reason})") from error


def _check_metrics(task: str, entries: Sequence[dict[str, Any]] | None, process_results: Any) -> None:
    """Raise `UserError` for a metric that is not lm-eval's own and would be code from the hub."""
    registry = import_extra("lm_eval.api.registry", "eval", "--tasks")
    for entry in entries or [] if process_results is None else []:
        metric = entry.get("metric")
        if not isinstance(metric, str) or Path(metric).is_absolute():  # a function in a file of the task's own
            continue
        with no_code_from_the_hub():
            found = registry.get_metric(metric, entry.get("hf_evaluate") is True)
        if found is None:
            raise UserError(
                f"task {task}: metric '{metric}' is not lm-eval's{did_you_mean(metric, registry.metric_registry)}; "
                "code from the hub is not executed"
            )
