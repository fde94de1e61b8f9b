"""The folder of what can be made again: prepared data, measurements, listings."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import platformdirs


def cache_root(configured: str | None = None) -> Path:
    """``configured`` (``data.cache_dir``), else the environment's ``GATEWRIGHT_CACHE``, else the platform's place."""
    chosen = configured or os.environ.get("GATEWRIGHT_CACHE") or platformdirs.user_cache_dir("gatewright")
    return Path(chosen).expanduser()


def package_state() -> str:
    """The files of this package as they are now, as one digest: for what holds until the code changes."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        facts = file.stat()
        digest.update(f"{file} {facts.st_mtime_ns} {facts.st_size}\n".encode())
    return digest.hexdigest()
