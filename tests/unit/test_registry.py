"""The registry: finding, refusing, and parts of other packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import gatewright
from gatewright.errors import UserError
from gatewright.parts.activations.base import Activation
from gatewright.parts.norms.rmsnorm import RMSNorm
from gatewright.parts.part import Dims
from gatewright.registry import create, find, list_parts, register


def test_an_alias_finds_the_same_part() -> None:
    assert find("norm", "rms").target is find("norm", "rmsnorm").target is RMSNorm


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(ValueError, match="registered twice"):

        @register("activation", "relu")
        class Another(Activation):
            pass


def test_a_class_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="not a Norm"):
        register("norm", "not_a_norm")(Activation)
    assert "not_a_norm" not in list_parts("norm")


def test_unknown_names_say_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'rmsnorm'"):
        find("norm", "rmsnrm")
    with pytest.raises(UserError, match="did you mean 'norm'"):
        list_parts("norms")


def test_knobs_are_checked_against_their_annotations() -> None:
    dims = Dims(8, head_dim=8)
    assert create("norm", {"name": "rmsnorm", "eps": 1}, dims).eps == 1.0
    for eps in ("1e-6", True, None):
        with pytest.raises(UserError, match="eps"):
            create("norm", {"name": "rmsnorm", "eps": eps}, dims)


def test_every_gate_is_a_feedforward_too() -> None:
    assert set(list_parts("gate")) < set(list_parts("feedforward"))


def test_a_part_of_another_package_comes_in_by_its_entry_point(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text(
        textwrap.dedent('''
            import torch
            from gatewright.parts.activations.base import Activation
            from gatewright.registry import register

            @register("activation", "sine")
            class Sine(Activation):
                """Sine: sin(x)."""

                label = "Sine"

                def forward(self, x):
                    return torch.sin(x)
        ''')
    )
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gatewright.parts]\nelsewhere = elsewhere\n")
    program = (
        "import gatewright as gw; c = gw.load_config(['model=small', 'model.activation=sine']).model;"
        "print(gw.architecture_name(c), 'sine' in gw.list_parts('activation'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["4L-4H-128D-RoPE-RMS-Sine-PreNorm", "True"]


@pytest.mark.parametrize(
    ("package", "above"),
    [("parts", "model|training|study|cli|data|evaluate"), ("model", "training|study|cli|data|evaluate|hf")],
)
def test_lower_floors_do_not_import_upper_ones(package: str, above: str) -> None:
    import_of_above = re.compile(rf"^\s*(from|import) gatewright\.({above})\b", re.MULTILINE)
    files = list((Path(gatewright.__file__).parent / package).rglob("*.py"))
    assert files
    assert [file.name for file in files if import_of_above.search(file.read_text())] == []
