"""What `import gatewright` gives."""

from __future__ import annotations

import subprocess
import sys

import gatewright


def test_every_public_name_is_there() -> None:
    assert set(gatewright.__all__) <= set(dir(gatewright))
    for name in gatewright.__all__:
        assert getattr(gatewright, name) is not None


def test_paths_need_no_import_of_their_own() -> None:
    code = "import gatewright; print(gatewright.paths.generate.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("gatewright.paths")
