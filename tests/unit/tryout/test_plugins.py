"""Parts in files: loading, refusing, remembering which code it was."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from gate_files import LINE_OF_DECORATOR, gate_file

import gatewright as gw
from gatewright import plugins
from gatewright.config import from_yaml, to_yaml
from gatewright.errors import UserError
from gatewright.plugins import hides_a_module, load_plugin, load_plugins
from gatewright.registry import find, list_parts, register
from gatewright.study.plan import load_study
from gatewright.study.trials import make_plan
from gatewright.training.resume import check_same_run

MakeGate = Callable[..., Path]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_recorded_by_its_absolute_path_and_content(gate: MakeGate) -> None:
    path = gate()
    config = gw.load_config(["model=small", "plugins=[mine.py]", "model.feedforward=mine"])
    assert config.plugins == {str(path): sha256(path)}
    assert gw.architecture_name(config.model) == "4L-4H-128D-RoPE-RMS-Mine-PreNorm"


def test_no_plugins_are_the_default() -> None:
    assert gw.load_config(["model=small"]).plugins == {}


def test_a_part_of_a_file_can_be_pickled(gate: MakeGate) -> None:
    gate()
    model = gw.build(gw.load_config(["model=small", "plugins=[mine.py]", "model.feedforward=mine"]).model)
    twin = pickle.loads(pickle.dumps(model.blocks[0].feedforward.gate))
    assert type(twin) is find("gate", "mine").target


def test_a_loaded_file_is_not_executed_again_unless_it_changed(gate: MakeGate) -> None:
    path = gate()
    first = load_plugin(path).entries[0].target
    assert load_plugin(path).entries[0].target is first
    gate(output="value * gate")
    second = load_plugin(path).entries[0].target
    assert second is not first
    assert find("gate", "mine").target is second


def test_a_part_that_was_renamed_in_its_file_loses_its_old_name(gate: MakeGate) -> None:
    load_plugin(gate(name="before"))
    load_plugin(gate(name="after"))
    assert "after" in list_parts("gate")
    assert "before" not in list_parts("gate")


def test_a_file_that_fails_leaves_the_registry_as_it_was(gate: MakeGate) -> None:
    sound = load_plugin(gate()).entries[0].target
    path = gate(name="other", more="raise RuntimeError('late')")
    with pytest.raises(UserError, match="RuntimeError: late"):
        load_plugin(path)
    assert find("gate", "mine").target is sound
    assert "other" not in list_parts("gate")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nif x\n", ", line 2: SyntaxError: expected ':'"),
        ("\nimport no_such_package\n", ", line 2: ModuleNotFoundError: No module named 'no_such_package'"),
        (gate_file(name="swiglu"), f", line {LINE_OF_DECORATOR}: gate 'swiglu' is registered twice"),
        (gate_file(name="parelu"), f", line {LINE_OF_DECORATOR}: gate 'parelu' is registered twice"),
        (gate_file(name="standard"), f", line {LINE_OF_DECORATOR}: gate 'standard' is registered twice"),
        (gate_file().replace('"gate"', '"gat"'), "unknown kind of part 'gat'; did you mean 'gate'?"),
        (gate_file().replace('"gate"', '"norm"'), "TypeError: Mine is registered as norm 'mine' but is not a Norm"),
        (gate_file(knobs=', *, k: "Optional[int]" = None'), "NameError: name 'Optional' is not defined"),
        ("import sys\nsys.exit(3)\n", ", line 2: SystemExit: 3"),
        ("\0", "SyntaxError: source code string cannot contain null bytes"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(here: Path, text: str, said: str) -> None:
    (here / "wrong.py").write_text(text)
    before = {kind: list_parts(kind) for kind in ("gate", "norm")}
    with pytest.raises(UserError) as error:
        gw.load_config(["model=small", "plugins=[wrong.py]"])
    assert str(error.value).startswith(f"plugins: {here / 'wrong.py'}")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert {kind: list_parts(kind) for kind in before} == before


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[mien.py]", "mien.py; did you mean 'mine.py'?"),
        ("[.]", "cannot read .*: Is a directory"),
        ("mine.py", r"plugins='mine.py': expected a list of files, such as plugins=\[my_gate.py\]"),
        ("[3]", "expected a list of files"),
        ("[mine.py,deeper/mine.py]", "two files have one name"),
        ("[notes.txt]", "notes.txt is not a Python file"),
    ],
)
def test_mistaken_values(gate: MakeGate, here: Path, value: str, said: str) -> None:
    gate()
    (here / "notes.txt").write_text("x = 1")
    with pytest.raises(UserError, match=said):
        gw.load_config(["model=small", f"plugins={value}"])


def test_a_gate_and_a_feedforward_share_their_names(gate: MakeGate) -> None:
    load_plugin(gate())
    with pytest.raises(UserError, match="feedforward 'mine' is registered twice"):
        register("feedforward", "mine")(find("feedforward", "standard").target)


def test_a_file_is_not_given_the_compiler_flags_of_the_one_that_loads_it(gate: MakeGate) -> None:
    """Annotations are values unless the file itself imports ``annotations`` from ``__future__``."""
    load_plugin(gate(knobs=", *, count: int = 1"))
    assert find("gate", "mine").target.__init__.__annotations__["count"] is int


def test_reading_a_configuration_executes_nothing(gate: MakeGate, here: Path) -> None:
    path = gate()
    text = to_yaml(gw.load_config(["model=small", "plugins=[mine.py]"]))
    path.write_text("raise RuntimeError('executed')")
    assert list(from_yaml(text).plugins) == [str(path)]


def test_a_recorded_file_must_be_what_it_was_unless_it_is_named_anew(
    gate: MakeGate, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = gate()
    file = here / "config.yaml"
    file.write_text(to_yaml(gw.load_config(["model=small", "plugins=[mine.py]", "model.feedforward=mine"])))
    assert gw.load_config([], file).plugins == {str(path): sha256(path)}
    recorded = sha256(path)
    gate(output="value * gate")
    with monkeypatch.context() as later:
        later.setattr(plugins, "_loaded", {})
        with pytest.raises(
            UserError, match=f"mine.py has changed: its SHA-256 is {sha256(path)[:12]}…, not {recorded[:12]}"
        ):
            gw.load_config([], file)
    assert gw.load_config(["plugins=[mine.py]"], file).plugins == {str(path): sha256(path)}


@pytest.mark.parametrize(
    ("now", "refused"),
    [
        ({"/elsewhere/mine.py": "a1"}, None),
        ({"/here/mine.py": "b2"}, "plugins.mine.py is 'b2' here but 'a1' in the run"),
        ({"/here/other.py": "a1"}, "plugins.mine.py is None here"),
        ({}, "plugins.mine.py is None here"),
    ],
)
def test_a_run_goes_on_with_a_file_that_moved_but_not_with_one_that_changed(
    now: dict[str, str], refused: str | None
) -> None:
    begun, here = gw.Config(plugins={"/here/mine.py": "a1"}), gw.Config(plugins=now)
    with nullcontext() if refused is None else pytest.raises(UserError, match=refused):
        check_same_run(here, begun, Path("run"))


def test_files_that_hide_a_module(here: Path) -> None:
    for name in ("select", "torch", "json"):
        assert hides_a_module(here / f"{name}.py")
    for name in ("mine", "my-gate", "no.such.thing"):
        assert not hides_a_module(here / f"{name}.py")


def test_a_run_keeps_the_file_and_loads_it_again_elsewhere(
    gate: MakeGate, here: Path, corpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = gate()
    run = gw.train(gw.load_config([*corpus, "plugins=[mine.py]", "model.feedforward=mine", "out=run"]))
    assert (run.path / "plugins" / "mine.py").read_bytes() == path.read_bytes()
    program = "import gatewright; print(gatewright.Run('run').model('last').blocks[0].feedforward.gate.label)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "Mine\n", done.stderr
    gate(output="value * gate")
    monkeypatch.setattr(plugins, "_loaded", {})
    with pytest.raises(UserError, match=r"mine.py has changed: .*\(run/plugins has what the run used\)"):
        run.model("last")


EXECUTED = "import pathlib; pathlib.Path('executed').write_text('')"


def make_foreign(run: Path, config: gw.Config) -> Path:
    """Make ``run`` a run directory as somebody else could send it: it names a file that comes with it, as it is."""
    theirs = run.parent / "theirs.py"
    theirs.write_text(EXECUTED)
    config.plugins = {"theirs.py": sha256(theirs)}
    run.mkdir(exist_ok=True)
    (run / "config.yaml").write_text(to_yaml(config))
    return run


def test_what_nobody_has_named_is_not_executed(here: Path, corpus: list[str]) -> None:
    made = gw.train(gw.load_config([*corpus, "out=run"]))
    run = make_foreign(here / "run", made.config)
    wish = r"needs parts from theirs.py \(SHA-256 \w+…\), a program that nobody has named here; .* --plugin theirs.py"
    study = here / "study.yaml"
    arms = "{a: {}, b: {overrides: [train.learning_rate=1e-2]}}"
    study.write_text(f"{{name: s, baseline: a, seeds: [0], base: [model=small, 'plugins=[theirs.py]'], arms: {arms}}}")
    for attempt in (
        lambda: gw.load_config([], run / "config.yaml"),
        lambda: gw.train(from_yaml((run / "config.yaml").read_text())),
        lambda: gw.Run(run).model("last"),
        lambda: make_plan(load_study(study)),
    ):
        with pytest.raises(UserError, match=wish):
            attempt()
    assert not (here / "executed").exists()

    load_plugins(["theirs.py"])  # now it is named
    assert (here / "executed").exists()
    assert list(gw.load_config([], run / "config.yaml").plugins) == [str(here / "theirs.py")]
    assert list(make_plan(load_study(study)).configs["b"].plugins) == [str(here / "theirs.py")]
    gw.Run(run).model("last")


@pytest.mark.parametrize("how", ["option", "variable", "override"])
def test_three_ways_to_name_a_file_on_the_command_line(here: Path, corpus: list[str], how: str) -> None:
    run = make_foreign(here / "run", gw.load_config(corpus))
    command = [sys.executable, "-m", "gatewright", *(["--plugin", "theirs.py"] if how == "option" else [])]
    command += ["config", "--config", str(run / "config.yaml"), *(["plugins=[theirs.py]"] if how == "override" else [])]
    environment = {**os.environ, **({plugins.NAMED: "theirs.py"} if how == "variable" else {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert (here / "executed").exists()
