"""The files a new part starts from: complete, working, and never in anybody's way."""

from __future__ import annotations

from pathlib import Path

import pytest

import gatewright as gw
from gatewright.contract import verify
from gatewright.errors import UserError
from gatewright.plugins import load_plugin
from gatewright.registry import find
from gatewright.scaffold import kinds, write_part

REFUSED_KNOBS = {
    "activation": {"slope": 0.0},
    "alpha": {"end": 1.5},
    "feedforward": {"scale": -1.0},
    "gate": {"slope": -0.5},
    "norm": {"eps": 0.0},
}


def test_kinds_are_those_that_have_a_template() -> None:
    assert set(kinds()) == set(REFUSED_KNOBS)


@pytest.mark.usefixtures("without_onnx")
@pytest.mark.parametrize("kind", kinds())
def test_a_new_part_keeps_its_contract_as_written(kind: str, here: Path) -> None:
    path = write_part(kind, "brand_new")
    assert path == Path("brand_new.py")
    (entry,) = load_plugin(path).entries
    assert (entry.kind, entry.name) == (kind, "brand_new")
    assert [verdict.error for verdict in verify(entry) if verdict.error] == []


@pytest.mark.parametrize("kind", kinds())
def test_its_knob_is_checked(kind: str, here: Path) -> None:
    load_plugin(write_part(kind, "brand_new"))
    (knob,) = REFUSED_KNOBS[kind]
    spec = {"name": "brand_new", **REFUSED_KNOBS[kind]}
    model = gw.ModelConfig(n_layer=1, n_head=1, n_embd=8, block_size=8, vocab_size=11, activation=None)
    if kind == "gate":
        model.feedforward = {"name": "gated", "gate": spec}
    else:
        model.feedforward = "pagelu" if kind == "alpha" else "standard"
        setattr(model, kind, spec)
    with pytest.raises(UserError, match=rf"{knob}=-?\d"):
        gw.build(model, device="meta")


def test_a_name_that_reads_like_the_base_class_does_not_shadow_it(here: Path) -> None:
    for kind, name in (("gate", "gate"), ("gate", "tensor"), ("feedforward", "feedforward"), ("alpha", "my_alpha")):
        assert find(kind, load_plugin(write_part(kind, name)).entries[0].name).name == name


def test_an_existing_file_is_left_alone(here: Path) -> None:
    (here / "mine.py").write_text("precious")
    with pytest.raises(UserError, match=r"mine\.py exists"):
        write_part("gate", "mine")
    with pytest.raises(UserError, match=r"mine\.py exists"):
        write_part("gate", "other", Path("mine.py"))
    assert (here / "mine.py").read_text() == "precious"
    assert write_part("gate", "mine", Path("other.py")) == Path("other.py")


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("gat", "x", "did you mean 'gate'"),
        ("position", "x", "known: activation, alpha, feedforward, gate, norm"),
        ("gate", "my-gate", "did you mean 'my_gate'?"),
        ("gate", "3rd", "did you mean 'rd'?"),
        ("gate", "ñ", "a letter first$"),
        ("gate", "", "a letter first$"),
        ("gate", "null", "'null' cannot name a part: in a configuration"),
        ("gate", "nan", "'nan' cannot name a part: in a configuration"),
        ("gate", "swiglu", "the name 'swiglu' is taken"),
        ("gate", "parelu", "the name 'parelu' is taken"),
        ("gate", "mlp", "the name 'mlp' is taken"),
        ("feedforward", "geglu", "the name 'geglu' is taken"),
        ("norm", "rms", "the name 'rms' is taken"),
        ("alpha", "input_x", "short for another one"),
        ("alpha", "static_x", "short for another one"),
        ("gate", "select", "select.py would hide the module 'select' from Python"),
    ],
)
def test_names_that_will_not_do(kind: str, name: str, said: str, here: Path) -> None:
    with pytest.raises(UserError, match=said) as error:
        write_part(kind, name)
    assert "\n" not in str(error.value)
    assert not list(here.iterdir())


@pytest.mark.parametrize("to", [".", "notes.txt", "no_folder/mine.py"])
def test_places_that_will_not_do(to: str, here: Path) -> None:
    with pytest.raises(UserError, match=to):
        write_part("gate", "mine", Path(to))
    assert not list(here.iterdir())
