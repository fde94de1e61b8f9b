"""Libraries that only some corpora and tokenizers need."""

from __future__ import annotations

import importlib
from typing import Any

from gatewright.errors import UserError


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """Import ``module``; `UserError` with the extra to install if its package is missing.

    ``purpose`` opens the message: what needs the package.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != package:
            raise
        raise UserError(f"{purpose} needs the package '{package}' (pip install gatewright[{extra}])") from error
