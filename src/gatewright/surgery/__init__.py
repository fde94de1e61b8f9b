"""Surgery: α-controlled gates put into trained models of other libraries, and taken out again."""

from __future__ import annotations

from gatewright.surgery.alpha import alpha_parameters, alphas, parameter_groups, set_step, train_only_alpha
from gatewright.surgery.families import FAMILIES, Layout
from gatewright.surgery.freeze import Frozen, freeze_alpha
from gatewright.surgery.patching import patch, unpatch
from gatewright.surgery.report import Report
from gatewright.surgery.saved import load_patched

__all__ = [
    "FAMILIES",
    "Frozen",
    "Layout",
    "Report",
    "alpha_parameters",
    "alphas",
    "freeze_alpha",
    "load_patched",
    "parameter_groups",
    "patch",
    "set_step",
    "train_only_alpha",
    "unpatch",
]
