"""Studies: arms × seeds trained under equal conditions, judged by paired statistics, written up as a report.

`run_study` does all of it; `describe_plan` and `status` show it in the terminal; `analyse` and `write_report` read a
study's folder at any time. The statistics are plain functions in `gatewright.study.statistics`.
"""

from __future__ import annotations

from gatewright.study.analyse import Analysis, analyse
from gatewright.study.board import describe_plan, status
from gatewright.study.plan import Arm, Study, load_study
from gatewright.study.report import write_report
from gatewright.study.runner import StudyInterruptedError, run_study
from gatewright.study.statistics import Comparison, compare_paired

__all__ = [
    "Analysis",
    "Arm",
    "Comparison",
    "Study",
    "StudyInterruptedError",
    "analyse",
    "compare_paired",
    "describe_plan",
    "load_study",
    "run_study",
    "status",
    "write_report",
]
