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


def test_a_taken_alias_is_refused_and_nothing_is_registered() -> None:
    with pytest.raises(ValueError, match="activation 'silu' is registered twice"):

        @register("activation", "brand_new", "silu")
        class Another(Activation):
            pass

    assert "brand_new" not in list_parts("activation")


def test_registering_the_same_class_again_is_no_collision() -> None:
    """A module that is imported twice, as notebooks do, replaces its own entry."""
    assert register("norm", "rmsnorm", "rms")(RMSNorm) is RMSNorm
    assert find("norm", "rms").target is RMSNorm


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match="unknown kind of part 'activatoin'; did you mean 'activation'"):
        register("activatoin", "x")


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


def test_every_gate_is_a_feedforward_too_also_by_its_alias() -> None:
    assert set(list_parts("gate")) < set(list_parts("feedforward"))
    assert find("feedforward", "parelu").fixed == {"gate": find("gate", "parelu").name}


@pytest.mark.parametrize(
    ("kind", "spec", "context", "said"),
    [
        ("norm", {"name": "layernorm", "shift": False}, {}, "norm 'layernorm' fixes shift=True"),
        ("norm", {"name": "rms", "epps": 1e-5}, {}, "did you mean 'norm 'rmsnorm'.eps'"),
        ("norm", {"eps": 1e-5}, {}, "expected a name or a mapping with 'name'"),
        ("norm", 3, {}, "norm=3: expected a name or a mapping with 'name'"),
        ("norm", None, {}, "expected a name or a mapping with 'name'"),
        (
            "attention",
            {"name": "sdpa", "window": 2.5},
            {},
            "attention 'sdpa'.window=2.5: expected int or null, got float",
        ),
        (
            "attention",
            {"name": "sdpa", "output_gate": "heads"},
            {},
            "not one of none, head, element; did you mean 'head'",
        ),
        ("gate", "geglu", {"activation": "relu"}, "gate 'geglu' fixes activation=gelu, but activation='relu' is set"),
        ("gate", "geglu", {"alpha": 0.5}, "gate 'geglu' has no alpha, but alpha=0.5 is set"),
    ],
)
def test_mistaken_specifications(kind: str, spec: object, context: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as error:
        create(kind, spec, Dims(8, n_head=2, kv_heads=2, head_dim=4), required=["alpha"], **context)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_knobs_win_over_what_the_surroundings_offer_and_nothing_is_forced_on_a_part() -> None:
    dims = Dims(8)
    offered = create("norm_position", "pre", dims, norm="rmsnorm", hidden=3)
    assert offered.norm.label == "RMS"
    assert create("norm_position", {"name": "pre", "norm": "dyt"}, dims, norm="rmsnorm").norm.label == "DyT"
    assert create("norm_position", "pre", dims, norm=None).norm.label == "LN"


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


def test_a_package_whose_parts_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import a_package_that_is_not_there")
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gatewright.parts]\nbroken = broken\n")
    program = textwrap.dedent("""
        from gatewright.errors import RunError
        from gatewright.registry import list_parts
        try:
            list_parts("norm")
        except RunError as error:
            print(error)
    """)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("cannot load the parts of another package, 'broken': ModuleNotFoundError")
    assert "a_package_that_is_not_there" in result.stdout


@pytest.mark.parametrize(
    ("package", "above"),
    [
        ("parts", "model|paths|training|study|cli|data|evaluate"),
        ("model", "paths|training|study|cli|data|evaluate|hf"),
        ("paths/similarities", "model|training|study|cli|data|evaluate|hf"),
        ("rl/tasks", "training|study|cli|model|paths"),
        ("rl/rewards", "training|study|cli|model|paths"),
    ],
)
def test_lower_floors_do_not_import_upper_ones(package: str, above: str) -> None:
    import_of_above = re.compile(rf"^\s*(from|import) gatewright\.({above})\b", re.MULTILINE)
    files = list((Path(gatewright.__file__).parent / package).rglob("*.py"))
    assert files
    assert [file.name for file in files if import_of_above.search(file.read_text())] == []
