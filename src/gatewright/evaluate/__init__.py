"""How good a model is: loss, perplexities and accuracy on text, and tasks of lm-eval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.evaluate.perplexity import evaluate_text
    from gatewright.evaluate.run import evaluate_run
    from gatewright.evaluate.target import find_target
    from gatewright.evaluate.tasks import evaluate_tasks
    from gatewright.evaluate.text import evaluation_text

_HOME = {
    "evaluate_run": "gatewright.evaluate.run",
    "evaluate_tasks": "gatewright.evaluate.tasks",
    "evaluate_text": "gatewright.evaluate.perplexity",
    "evaluation_text": "gatewright.evaluate.text",
    "find_target": "gatewright.evaluate.target",
}

__all__ = ["evaluate_run", "evaluate_tasks", "evaluate_text", "evaluation_text", "find_target"]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
