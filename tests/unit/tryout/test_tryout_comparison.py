"""The study and the table of costs of a new part, of each kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import gatewright as gw
from gatewright.errors import UserError
from gatewright.registry import KINDS
from gatewright.study.plan import Study
from gatewright.study.store import StudyFolder
from gatewright.study.trials import make_plan
from gatewright.tryout.comparison import TRIALS, check_request, folder_for, make_study
from gatewright.tryout.cost_table import cost_table
from gatewright.tryout.rivals import RIVALS
from gatewright.tryout.try_part import load_part

MakeGate = Callable[..., Path]
NOT_IN_A_LANGUAGE_MODEL = {"similarity"}
SUBCLASSED = {
    "activation": "gatewright.parts.activations.gelu:GELU",
    "alpha": "gatewright.parts.alpha.static:StaticAlpha",
    "attention": "gatewright.parts.attention.manual:ManualAttention",
    "feedforward": "gatewright.parts.feedforward.standard:StandardFeedForward",
    "gate": "gatewright.parts.gates.pagate:PaGate",
    "init": "gatewright.parts.inits.fan_in:FanInInit",
    "norm": "gatewright.parts.norms.rmsnorm:RMSNorm",
    "norm_position": "gatewright.parts.residuals.pre:PreNorm",
    "position": "gatewright.parts.positions.rope:RoPE",
}


def file_of(kind: str, here: Path) -> Path:
    """A file with a part of ``kind`` called ``mine``: a library's part under another name."""
    module, _, name = SUBCLASSED[kind].partition(":")
    fixed = ', word="Mine", own_form="gate"' if kind == "gate" else ""
    path = here / "mine.py"
    path.write_text(
        f"from gatewright import register\nfrom {module} import {name}\n\n\n"
        f'@register("{kind}", "mine"{fixed})\nclass Mine({name}):\n    """Mine: another name."""\n'
    )
    return path


def test_every_kind_of_a_language_model_has_rivals() -> None:
    assert set(RIVALS) == set(KINDS) - NOT_IN_A_LANGUAGE_MODEL == set(SUBCLASSED)


@pytest.mark.parametrize("kind", sorted(RIVALS))
def test_the_study_of_each_kind_can_be_run(kind: str, here: Path) -> None:
    plugin, entry = load_part(file_of(kind, here))
    study = make_study(entry, plugin, [], None)
    plan = make_plan(study)
    assert study.baseline == next(iter(RIVALS[kind].values))
    assert list(study.arms) == [*RIVALS[kind].values, "mine"]
    assert len(study.seeds) >= 3
    assert TRIALS - len(study.arms) < len(plan.trials) <= TRIALS
    parameters = {arm: gw.cost(config.model).parameters for arm, config in plan.configs.items()}
    assert max(parameters.values()) <= 1.01 * min(parameters.values())
    assert {arm for arm, config in plan.configs.items() if config.plugins} == {"mine"}
    models = [plan.configs[arm].model for arm in study.arms]
    assert all(model != other for i, model in enumerate(models) for other in models[:i])


@pytest.mark.parametrize("kind", sorted(RIVALS))
def test_the_cost_of_each_kind_is_shown_beside_its_rivals(kind: str, here: Path) -> None:
    plugin, entry = load_part(file_of(kind, here))
    table = cost_table(entry, plugin, "small")
    if kind == "init":
        assert table is None
        return
    assert table is not None
    assert list(table.columns[0].cells) == [*RIVALS[kind].values, *RIVALS[kind].also_shown, "mine"]


def test_the_numbers_of_a_block(gate: MakeGate) -> None:
    plugin, entry = load_part(gate())
    cells = {preset: rows(cost_table(entry, plugin, preset)) for preset in ("small", "gpt2")}
    plain, gated = 2 * 128 * 512, 3 * 128 * 512
    assert cells["small"] == [
        ["gelu", f"{plain:,}", f"{2 * plain:,}", "512"],
        ["swiglu", f"{gated:,} (+50.0%)", f"{2 * gated:,} (+50.0%)", "344"],
        ["pagelu", f"{gated:,} (+50.0%)", f"{2 * gated:,} (+50.0%)", "344"],
        ["mine", f"{gated + 512:,} (+50.4%)", f"{2 * gated:,} (+50.0%)", "344"],
    ]
    assert cells["gpt2"][0] == ["gelu", f"{2 * 768 * 3072 + 768 + 3072:,}", f"{4 * 768 * 3072:,}", "3,072"]


def rows(table: object) -> list[list[str]]:
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]  # type: ignore[attr-defined]


def test_a_gate_that_mixes_with_its_input_keeps_its_own_width(gate: MakeGate) -> None:
    plugin, entry = load_part(gate(more="square = True", output="x + value * self.slope * gate"))
    study = make_study(entry, plugin, [], 2)
    assert "model.hidden=128" in study.arms["mine"].overrides
    assert make_plan(study).configs["mine"].model.hidden == 128
    assert rows(cost_table(entry, plugin, "small"))[-1][-1] == "cannot be matched"


def test_a_part_named_like_a_rival_gets_an_arm_of_another_name(gate: MakeGate) -> None:
    plugin, entry = load_part(gate(name="GELU"))
    study = make_study(entry, plugin, [], 1)
    assert list(study.arms) == ["gelu", "swiglu", "GELU-gate"]
    assert make_plan(study).configs["GELU-gate"].model.feedforward == "GELU"


def test_a_path_of_any_kind_of_character_reaches_the_trials(here: Path, gate: MakeGate) -> None:
    folder = here / "a 'b\" [c], d=é"
    folder.mkdir()
    path = gate().rename(folder / "mine.py")
    plugin, entry = load_part(path)
    plan = make_plan(make_study(entry, plugin, [], 1))
    assert list(plan.configs["mine"].plugins) == [str(path)]


@pytest.mark.parametrize(
    ("overrides", "options", "said"),
    [
        (["train.max_stps=3"], {}, "did you mean 'train.max_steps'"),
        (["model.feedforward=geglu"], {}, "'model.feedforward=geglu' cannot hold for every arm"),
        (["model.feedforward.hidden=8"], {}, "cannot hold for every arm"),
        (["plugins=[x.py]"], {}, "cannot hold for every arm"),
        ([], {"seeds": 0}, "seeds=0: at least one"),
        ([], {"out": Path("mine.py")}, "mine.py exists and is not a study's folder"),
        ([], {"out": Path()}, "exists and is not a study's folder"),
    ],
)
def test_mistakes_are_found_before_anything_is_checked(
    overrides: list[str], options: dict[str, object], said: str, gate: MakeGate
) -> None:
    _, entry = load_part(gate())
    with pytest.raises(UserError, match=said):
        check_request(entry, overrides, **({"seeds": None, "out": None} | options))  # type: ignore[arg-type]


def test_the_same_designs_go_on_where_they_were_and_others_elsewhere(gate: MakeGate) -> None:
    def study(*overrides: str, seeds: int = 2) -> Study:
        plugin, entry = load_part(gate_file)
        return make_study(entry, plugin, ["model.n_layer=1", *overrides], seeds)

    gate_file = gate()
    first = study()
    assert folder_for(first) == Path("runs/try-mine")
    StudyFolder("runs/try-mine").adopt(make_plan(first))
    assert folder_for(first) == folder_for(study(seeds=3)) == Path("runs/try-mine")
    assert folder_for(study("train.max_steps=5")) == Path("runs/try-mine-2")
    gate(output="value * gate * self.slope")
    edited = study()
    assert folder_for(edited) == Path("runs/try-mine-2")
    StudyFolder("runs/try-mine-2").adopt(make_plan(edited))
    assert folder_for(edited) == Path("runs/try-mine-2")
    gate()
    assert folder_for(study()) == Path("runs/try-mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", 'mine.py registers no part; put @register("gate", "my_gate")'),
        (
            "from gatewright import register\nfrom gatewright.parts.norms.rmsnorm import RMSNorm\n"
            'register("norm", "one", "uno")(RMSNorm)\nregister("norm", "two")(RMSNorm)',
            "mine.py registers norm 'one', norm 'two'; try takes one part at a time",
        ),
    ],
)
def test_a_file_has_exactly_one_part(text: str, said: str, here: Path) -> None:
    (here / "mine.py").write_text(text)
    with pytest.raises(UserError) as error:
        load_part(Path("mine.py"))
    assert said in str(error.value)


def test_a_file_that_trials_would_import_for_another_module(gate: MakeGate, here: Path) -> None:
    (here / "deeper").mkdir()
    assert load_part(gate(file="deeper/select.py", name="deeper"))[1].name == "deeper"
    with pytest.raises(UserError, match="hides the module 'select'"):
        load_part(gate(file="select.py"))


def test_a_kind_without_a_place_in_a_language_model_is_not_trained(here: Path) -> None:
    (here / "mine.py").write_text(
        "from gatewright import register\nfrom gatewright.registry import find\n\n\n"
        '@register("similarity", "mine")\nclass Mine(find("similarity", "cosine").target):\n    """Mine: a name."""\n'
    )
    plugin, entry = load_part(Path("mine.py"))
    assert cost_table(entry, plugin, "small") is None
    with pytest.raises(UserError, match="a similarity is no part of a language model"):
        check_request(entry, [], None, None)
