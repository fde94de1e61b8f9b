"""Studies: arms × seeds trained under equal conditions, judged by paired statistics, written up as a report.

`run_study` does all of it; `describe_plan` and `status` show it in the terminal; `analyse` and `write_report` read a
study's folder at any time. The statistics are plain functions in `gatewright.study.statistics`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewright.study.analysis import Analysis, analyse
    from gatewright.study.board import describe_plan, status
    from gatewright.study.compare import compare_runs
    from gatewright.study.plan import Arm, Study, load_study
    from gatewright.study.report import write_report
    from gatewright.study.runner import StudyInterruptedError, run_study
    from gatewright.study.statistics import Comparison, compare_paired

_HOME = {
    "Analysis": "analysis",
    "analyse": "analysis",
    "Arm": "plan",
    "Comparison": "statistics",
    "Study": "plan",
    "StudyInterruptedError": "runner",
    "compare_paired": "statistics",
    "compare_runs": "compare",
    "describe_plan": "board",
    "load_study": "plan",
    "run_study": "runner",
    "status": "board",
    "write_report": "report",
}

__all__ = [
    "Analysis",
    "Arm",
    "Comparison",
    "Study",
    "StudyInterruptedError",
    "analyse",
    "compare_paired",
    "compare_runs",
    "describe_plan",
    "load_study",
    "run_study",
    "status",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: what only reads run directories need not wait for PyTorch."""
    if name not in _HOME:
        raise AttributeError(f"module 'gatewright.study' has no attribute '{name}'")
    return getattr(importlib.import_module(f"gatewright.study.{_HOME[name]}"), name)
