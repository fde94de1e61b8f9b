"""The folder of what can be made again: prepared data, measurements, listings."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_root(configured: str | None = None) -> Path:
    """``configured`` (``data.cache_dir``), else the environment's ``GATEWRIGHT_CACHE``, else the platform's place."""
    chosen = configured or os.environ.get("GATEWRIGHT_CACHE") or platformdirs.user_cache_dir("gatewright")
    return Path(chosen).expanduser()
