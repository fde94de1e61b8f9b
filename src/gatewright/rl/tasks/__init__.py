"""Tasks: questions with answers that can be checked, one file each; a new file that registers itself is a new task."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from gatewright.registry import split_spec
from gatewright.rl.tasks.base import Split, Task, build_task, knobs, register_task, task_classes
from gatewright.rl.tasks.generated import GeneratedTask, SmallTask
from gatewright.rl.tasks.overlap import Contamination, check_disjoint, contamination
from gatewright.rl.tasks.question import Question, columns_of
from gatewright.rl.tasks.rows import Row, RowsTask

__all__ = [
    "Contamination",
    "GeneratedTask",
    "Question",
    "Row",
    "RowsTask",
    "SmallTask",
    "Split",
    "Task",
    "check_disjoint",
    "columns_of",
    "contamination",
    "knobs",
    "list_tasks",
    "make_task",
    "register_task",
    "task_classes",
]


def list_tasks() -> list[str]:
    """Names of the tasks, sorted."""
    _discover()
    return sorted(task_classes)


def make_task(spec: Any, **settings: Any) -> Task:
    """A task by its name, or by a mapping with ``name`` and knobs; ``settings`` are knobs too and win.

    Raises `UserError` for an unknown name or knob and for a value of the wrong type or out of range.
    """
    _discover()
    name, own = split_spec("task", spec)
    return build_task(name, {**own, **settings})


@cache
def _discover() -> None:
    for module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
        importlib.import_module(module.name)
    for point in entry_points(group="gatewright.tasks"):
        point.load()
