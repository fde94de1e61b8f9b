"""Studies: arms × seeds trained under equal conditions, judged by paired statistics, written up as a report.

`run_study` does all of it; `describe_plan` and `status` show it in the terminal; `analyse` and `write_report` read a
study's folder at any time. The statistics are plain functions in `gatewright.study.statistics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.study.analysis import Analysis, analyse
    from gatewright.study.board import describe_plan, status
    from gatewright.study.compare import compare_runs
    from gatewright.study.plan import Arm, Study, load_study
    from gatewright.study.report import write_report
    from gatewright.study.runner import StudyInterruptedError, run_study
    from gatewright.study.statistics import Comparison, compare_paired

_HOME = {
    "Analysis": "gatewright.study.analysis",
    "analyse": "gatewright.study.analysis",
    "Arm": "gatewright.study.plan",
    "Comparison": "gatewright.study.statistics",
    "Study": "gatewright.study.plan",
    "StudyInterruptedError": "gatewright.study.runner",
    "compare_paired": "gatewright.study.statistics",
    "compare_runs": "gatewright.study.compare",
    "describe_plan": "gatewright.study.board",
    "load_study": "gatewright.study.plan",
    "run_study": "gatewright.study.runner",
    "status": "gatewright.study.board",
    "write_report": "gatewright.study.report",
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

__getattr__, __dir__ = lazy_names(__name__, _HOME)
