"""`gatewright eval` as a user meets it: what it prints and writes, what it refuses and when."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from huggingface_hub import constants

import gatewright as gw
from gatewright.cli import main
from gatewright.evaluate import target as targets
from gatewright.evaluate import tasks
from gatewright.evaluate.tasks import Score, TaskEvaluation
from gatewright.hf import save

TINY = ["model=llama", "model.n_layer=1", "model.n_head=2", "model.n_embd=16", "model.block_size=16",
        "train.batch_size=4", "train.max_steps=2", "train.eval_tokens=128", "train.tensorboard=false",
        "data.tokenizer=bpe-260"]  # fmt: skip


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, a run trained on it, and the run as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("eval")
    (folder / "letters").mkdir()
    for number in range(6):
        (folder / "letters" / f"{number}.txt").write_text(f"Letter {number}. " + "The gate is open, or shut. " * 9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWRIGHT_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        run = gw.train(gw.load_config([*TINY, "data=files", "data.path=letters", "out=run"]))
        save(run, "exported")
    return folder


@pytest.fixture
def command(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call ``gatewright eval`` in that folder: ``command("run", "--json")``."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr("sys.argv", ["gatewright", "eval", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Outcome(stop.value.code if isinstance(stop.value.code, int) else 0, captured.out, captured.err)

    return call


LETTERS = ["data=files", "data.path=letters"]


def test_a_run_and_a_folder_compare_on_a_text(command: Callable[..., Outcome], tmp_path: Path) -> None:
    ours = command("run", *LETTERS, "--bytes", "200", "--json")
    theirs = command("exported", *LETTERS, "--bytes", "200", "--json", "--out", str(tmp_path / "score.json"))
    assert (ours.code, theirs.code) == (0, 0), ours.err + theirs.err
    mine, other = json.loads(ours.out), json.loads(theirs.out)
    assert mine["val_perplexity_byte"] == pytest.approx(other["val_perplexity_byte"], rel=1e-5)
    assert mine["text"] == other["text"]
    assert (mine["text"]["bytes"], mine["text"]["source"], mine["text"]["path"]) == (200, "files", "letters")
    assert (mine["target"], other["target"]) == ("run", "exported")
    assert json.loads((tmp_path / "score.json").read_text()) == other
    assert command("exported", *LETTERS, "--bytes", "200").out.count("val_perplexity_byte") == 1

    whole = json.loads(command("run", *LETTERS, "--json").out)
    assert whole["text"]["bytes"] > 200
    own = json.loads(command("run", "--json").out)
    assert "text" not in own
    assert own["tokens"] == 128
    assert json.loads(command("run", "--tokens", "50", "--json").out)["tokens"] == 50


MISTAKES = {
    "a run that is misspelt": (["rnu"], "; did you mean 'run'?"),
    "nothing of that name": (
        ["nobody/nowhere"],
        "nobody/nowhere is neither a run directory nor a model that can be had",
    ),
    "no name at all": (["./nowhere"], "TARGET=./nowhere: no such folder"),
    "a folder of other things": (["letters"], "letters is neither a run directory nor a Hugging Face model"),
    "a file": (["letters/1.txt"], "letters/1.txt: is a file"),
    "a checkpoint of no run": (["exported", "--checkpoint", "last"], "exported is not a run directory"),
    "tokens of a text": (["exported", *LETTERS, "--tokens", "9"], "a text is limited by --bytes"),
    "tokens of a named text": (["run", *LETTERS, "--tokens", "9"], "a text is limited by --bytes"),
    "bytes of a run's own": (["run", "--bytes", "9"], "a run's own is limited by --tokens"),
    "a tokenizer": (["run", *LETTERS, "data.tokenizer=byte"], "data.tokenizer: a model reads a text with its own"),
    "a key of training": (["run", *LETTERS, "train.seed=1"], "train.seed: an evaluation takes data.…"),
    "a key that is misspelt": (["run", "data.pat=letters"], "did you mean 'data.path'?"),
    "a text that is not there": (["run", "data=files", "data.path=leters"], "did you mean 'letters'?"),
    "a window beyond the context": (["exported", *LETTERS, "--block-size", "17"], "is 16 tokens"),
    "another split": (["run", *LETTERS, "data.split_seed=5"], "data.split_seed=0, so it may have learned this text"),
    "an option of tasks": (["run", "--limit", "3"], "--limit goes with --tasks"),
    "a text for tasks": (["run", *LETTERS, "--tasks", "a"], "data.… has no part in --tasks"),
    "tokens for tasks": (["run", "--tasks", "a", "--tokens", "3"], "--tokens has no part in --tasks"),
    "no folder of tasks": (["run", "--tasks", "a", "--task-path", "nowhere"], "--task-path nowhere: there is no such"),
    "an arithmetic that is not there": (["run", *LETTERS, "--precision", "fp16"], "precision=fp16 needs device=cuda"),
    "a result that exists": (["run", "--out", "run/config.yaml"], "--out run/config.yaml: it exists"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line_before_any_work(
    command: Callable[..., Outcome], mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(targets.Run, "load", load)
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", load)
    arguments, said = MISTAKES[mistake]
    outcome = command(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("gatewright: ")
    assert outcome.err.count("\n") == 1
    assert said in outcome.err


def test_scores_of_tasks_are_shown_with_their_errors(
    command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}

    def answer(target: object, names: list[str], **options: object) -> TaskEvaluation:
        given.update(options, names=names)
        known = Score("mine", "1.0", 2, 1500, "acc", "none", 0.25, 0.0123, True)
        unknown = Score("mine", "1.0", 2, 1500, "word_perplexity", "strict", 31.5, None, False)
        return TaskEvaluation((known, unknown), {"Truncating N tokens": 1200}, "float32", 7, "0.4.13")

    monkeypatch.setattr(tasks, "evaluate_tasks", answer)
    arguments = ["run", "--tasks", "mine, yours", "--limit", "7", "--num-fewshot", "2", "--batch-size", "3"]
    outcome = command(*arguments)
    assert outcome.code == 0, outcome.err
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in outcome.out.splitlines() if "mine" in line]
    assert rows == [
        ["mine", "2", "1,500", "acc ↑", "0.2500", "0.0123"],
        ["mine", "2", "1,500", "word_perplexity (strict) ↓", "31.5000", "–"],
    ]
    assert "lm-eval warned (1,200 ×): Truncating N tokens" in outcome.out
    wanted = {"names": ["mine", "yours"], "limit": 7, "num_fewshot": 2, "batch_size": 3, "device": "auto"}
    assert {key: given[key] for key in wanted} == wanted
    printed = json.loads(command(*arguments, "--json").out)
    assert printed["scores"][0]["stderr"] == 0.0123
    assert printed["scores"][1]["stderr"] is None
    assert printed["target"] == "run"
