"""The command line as a user meets it: what it prints, what it refuses, how it exits."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import gatewright as gw
from gatewright.cli import app, main
from gatewright.registry import KINDS

TINY = ["model.n_layer=2", "model.n_head=2", "model.n_embd=32", "model.block_size=32", "train.batch_size=4",
        "train.max_steps=6", "train.log_every=2", "train.eval_every=3", "train.save_every=3", "train.eval_tokens=512",
        "train.tensorboard=false", "data.tokenizer=byte"]  # fmt: skip


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the command line in this process: ``command("cost", "model=gpt2")``."""

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr("sys.argv", ["gatewright", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides that name a small local corpus and a cache of its own."""
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.txt").write_text(f"Chapter {number}. " + "The gate is open, the gate is shut. " * 30)
    return ["data=files", f"data.path={folder}"]


def verbs() -> list[str]:
    """Every verb, those of ``study`` as two words."""
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    nested = [
        (g.name, c) for g in app.registered_groups if g.typer_instance for c in g.typer_instance.registered_commands
    ]
    return [*names, *(f"{group} {c.name or c.callback.__name__}" for group, c in nested if c.callback)]


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_explains_itself_with_an_example(command: Callable[..., Outcome], verb: str) -> None:
    outcome = command(*verb.split(), "--help")
    assert outcome.code == 0
    assert f"gatewright {verb} " in " ".join(outcome.out.replace("│", " ").split()) + " "


def test_the_verbs_others_call_exist() -> None:
    wanted = {
        "train", "eval", "generate", "report", "parts", "cost", "config", "doctor", "compare", "watch", "new", "try",
        "study run", "study plan", "study status", "study report",
    }  # fmt: skip
    assert wanted <= set(verbs())


def test_cost_as_json_is_what_the_library_says(command: Callable[..., Outcome]) -> None:
    outcome = command("cost", "model=gpt2", "--json")
    printed = json.loads(outcome.out)
    expected = gw.cost(gw.load_config(["model=gpt2"]).model)
    assert printed["parameters"] == expected.parameters == 124_439_808
    assert printed["flops_per_token"] == expected.flops_per_token
    assert printed["architecture"] == "12L-12H-768D-AbsPos-LN-GELU-PreNorm"
    assert sum(part["parameters"] for part in printed["breakdown"].values()) == expected.parameters


def test_config_prints_what_it_can_read_back(command: Callable[..., Outcome], tmp_path: Path) -> None:
    first = command("config", "model=llama", "model.position=alibi", "train.max_steps=200")
    assert yaml.safe_load(first.out)["model"]["position"] == "alibi"
    file = tmp_path / "mine.yaml"
    file.write_text(first.out)
    assert command("config", "--config", str(file)).out == first.out
    changed = yaml.safe_load(command("config", "--config", str(file), "train.seed=7").out)
    assert (changed["train"]["seed"], changed["train"]["max_steps"]) == (7, 200)


def test_parts_lists_every_kind(command: Callable[..., Outcome]) -> None:
    found = json.loads(command("parts", "--json").out)
    assert set(found) == set(KINDS)
    assert {"swiglu", "paglu", "moe", "standard"} <= {entry["name"] for entry in found["feedforward"]}
    assert all(entry["summary"] for entries in found.values() for entry in entries)
    rope = next(e for e in json.loads(command("parts", "position", "--json").out)["position"] if e["name"] == "rope")
    assert rope["knobs"] == {"theta": 10000.0, "fraction": 1.0}


def test_what_only_looks_needs_no_torch(
    command: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path))
    listed = command("parts", "--json").out
    assert fresh("parts", "--json") == (listed, [])
    assert fresh("--help")[1] == []
    (kept,) = tmp_path.iterdir()
    kept.write_text("{")  # a cache that was damaged is made anew
    assert command("parts", "--json").out == listed
    assert json.loads(kept.read_text())["parts"]["norm"]


def fresh(*arguments: str) -> tuple[str, list[str]]:
    """What a command prints in an interpreter of its own, and which heavy libraries it loaded for that."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(sorted({'torch', 'scipy', 'pandas', 'transformers'} & set(sys.modules))))\n"
        "from gatewright.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    *printed, loaded = done.stdout.splitlines(keepends=True)
    return "".join(printed), ast.literal_eval(loaded)


MISTAKES = {
    "unknown key": (["cost", "model.n_layr=3"], "did you mean 'model.n_layer'"),
    "key without its block": (["cost", "learning_rate=1"], "unknown key 'learning_rate'"),
    "unknown preset": (["cost", "model=lama"], "did you mean 'llama'"),
    "unknown part": (["cost", "model.position=rop"], "did you mean 'rope'"),
    "unknown knob": (["cost", "model.position={name: rope, tetha: 3}"], "theta"),
    "wrong type": (["config", "train.max_steps=many"], "train.max_steps"),
    "wrong choice": (["config", "train.schedule=cosin"], "did you mean 'cosine'"),
    "heads that do not divide the width": (["cost", "model.n_head=7"], "model.n_head=7 does not divide"),
    "kv_heads that do not divide the heads": (["cost", "model.kv_heads=5"], "model.kv_heads=5 does not divide"),
    "rope with an odd head": (["cost", "model.position=rope", "model.n_head=4", "model.n_embd=60"], "even"),
    "alpha beyond one": (["cost", "model.feedforward=paglu", "model.alpha=1.5"], "must be in [0, 1]"),
    "alpha where there is no gate": (["cost", "model.alpha=0.5"], "has no alpha"),
    "a sweep": (["config", "train.seed=1,2"], "sweep"),
    "unreadable override": (["config", "train.seed"], "train.seed"),
    "unknown kind of part": (["parts", "norms"], "did you mean 'norm'"),
    "no such run": (["eval", "nowhere"], "nowhere"),
    "no such study": (["study", "run", "nowhere.yaml"], "nowhere.yaml"),
    "no such config file": (["config", "--config", "nowhere.yaml"], "nowhere.yaml"),
    "no such corpus": (["train", "data=files", "data.path=nowhere", "out=run"], "nowhere"),
    "a parallel mode that is not there": (["train", "parallel.mode=dpd", "out=run"], "parallel.mode"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line(
    command: Callable[..., Outcome], mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path / "cache"))
    arguments, said = MISTAKES[mistake]
    outcome = command(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("gatewright: ")
    assert outcome.err.count("\n") == 1
    assert said in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_run_from_training_to_text(command: Callable[..., Outcome], text: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    made = command("train", "model=llama", *TINY, *text, f"out={run}")
    assert made.code == 0, made.err
    for expected in ("2L-2H-32D-RoPE-RMS-SwiGLU-PreNorm", "rmsnorm", "FLOP", "MFU"):
        assert expected in made.out
    summary = json.loads((run / "summary.json").read_text())
    assert summary["architecture"] == "2L-2H-32D-RoPE-RMS-SwiGLU-PreNorm"
    assert summary["status"] == "finished"

    scored = json.loads(command("eval", str(run), "--checkpoint", "last", "--json").out)
    assert scored["val_loss"] == pytest.approx(summary["final_val_loss"], rel=1e-5)

    ask = ("generate", str(run), "--prompt", "The gate", "--prompt", "Ch", "--max-new-tokens", "12", "--json")
    cached, plain = command(*ask), command(*ask, "--no-cache")
    assert cached.code == 0, cached.err
    assert json.loads(cached.out) == json.loads(plain.out)
    assert [item["prompt"] for item in json.loads(cached.out)] == ["The gate", "Ch"]
    assert command(*ask, "--seed", "5").out != cached.out
    assert command("generate", str(run), "--prompt", "").code == 2

    again = command("train", "model=llama", *TINY, *text, f"out={run}")
    assert again.code == 2
    assert "resume=auto" in again.err
    assert json.loads((run / "summary.json").read_text()) == summary

    repeated = command("train", "--config", str(run / "config.yaml"), f"out={tmp_path / 'again'}")
    assert repeated.code == 0, repeated.err
    assert gw.Run(tmp_path / "again").summary["final_val_loss"] == summary["final_val_loss"]


def test_an_override_on_a_preset_changes_the_built_model(
    command: Callable[..., Outcome], text: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcome = command("train", "model=gpt2", "model.position=rope", *TINY, *text, f"out={run}")
    assert outcome.code == 0, outcome.err
    trained = gw.Run(run)
    assert trained.summary["architecture"] == "2L-2H-32D-RoPE-LN-GELU-PreNorm"
    assert not any("positions" in name for name, _ in trained.model().named_parameters())


def test_alpha_moves_and_is_recorded(command: Callable[..., Outcome], text: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    gated = ["model.feedforward=paglu", "model.alpha=scheduler_cosine"]
    assert command("train", "model=gpt2", *gated, *TINY, *text, f"out={run}").code == 0
    courses = [list(record["alpha"].values()) for record in gw.Run(run).train_records()]
    assert all(len(course) == 2 for course in courses)
    assert courses[0][0] < courses[1][0] < courses[2][0] == pytest.approx(1.0)


def test_doctor_reports_every_check(command: Callable[..., Outcome]) -> None:
    checks = json.loads(command("doctor", "--json").out)
    assert {"python", "torch"} <= {check["name"].lower() for check in checks}
    assert all(check["status"] in ("ok", "warn", "fail") for check in checks)
    assert all(check["advice"] for check in checks if check["status"] != "ok")
