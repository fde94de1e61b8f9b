"""Trained runs as Hugging Face folders, and how transformers comes to know of them."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hf_designs import ids, logits, make
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
from typer.testing import CliRunner

import gatewright as gw
from gatewright.cli import app
from gatewright.errors import RunError, UserError
from gatewright.hf import GatewrightForCausalLM, from_hf, registration, save
from gatewright.run import Run
from gatewright.training.store import fault

TEXT = "It was the best of tïmes;\tit was the wørst of times.\n"
TINY = [
    *("model.n_layer=2", "model.n_head=2", "model.n_embd=32", "model.block_size=32", "data=files"),
    *("train.batch_size=4", "train.max_steps=6", "train.eval_every=2", "train.save_every=2", "train.eval_tokens=256"),
    *("train.tensorboard=false", "train.learning_rate=0.02", "train.keep_last=3"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Tiny trained runs, with a tokenizer of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "corpus").mkdir()
    for number in range(6):
        (folder / "corpus" / f"{number}.txt").write_text(f"Chapter {number}. " + TEXT * 20)
    designs = {
        "llama": ["model=llama", "data.tokenizer=bpe-300"],
        "gpt2": ["model=gpt2", "data.tokenizer=char"],
        "paglu": ["model=small", "model.feedforward=paglu", "model.alpha=learnable", "data.tokenizer=byte"],
    }
    common = [*TINY, f"data.path={folder / 'corpus'}", f"data.cache_dir={folder / 'cache'}"]
    return {
        name: gw.train(gw.load_config([own[0], *common, *own[1:], f"out={folder / name}"]))
        for name, own in designs.items()
    }


def export(*arguments: object) -> tuple[int, str]:
    """The exit status of ``gatewright export hf …`` and what it printed or raised."""
    done = CliRunner().invoke(app, ["export", "hf", *map(str, arguments)])
    return done.exit_code, done.output or str(done.exception)


@pytest.mark.parametrize("name", ["llama", "gpt2", "paglu"])
def test_checkpoints_open(name: str, runs: dict[str, Run]) -> None:
    run = runs[name]
    for checkpoint in run.checkpoints():
        assert fault(checkpoint) is None
        assert "config.json" in json.loads((checkpoint / "manifest.json").read_text())["files"]
        model, info = AutoModelForCausalLM.from_pretrained(checkpoint, output_loading_info=True)
        assert not any(info.values())
        tokens = ids(2, 20) % run.config.model.vocab_size
        assert torch.equal(logits(model, tokens), logits(run.load(checkpoint), tokens))
        assert torch.equal(logits(from_hf(checkpoint), tokens), logits(run.load(checkpoint), tokens))


@pytest.mark.parametrize("name", ["llama", "gpt2", "paglu"])
def test_an_exported_run_is_used_without_knowing_about_runs(name: str, runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs[name]
    status, output = export(run.path, tmp_path / "out", "--checkpoint", "last")
    assert status == 0, output
    assert str(tmp_path / "out") in output.replace("\n", "")
    names = {"README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"tokenizer_config.json"}

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in (TEXT, "Chapter 1", "  \n\n a"):
        assert tokenizer(text)["input_ids"] == run.tokenizer.encode(text)
        assert tokenizer.decode(run.tokenizer.encode(text)) == run.tokenizer.decode(run.tokenizer.encode(text))
    assert (tokenizer.model_max_length, tokenizer.padding_side) == (32, "left")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == run.tokenizer.eot_id

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert type(model) is GatewrightForCausalLM
    assert model.generation_config.eos_token_id == model.config.eos_token_id == run.tokenizer.eot_id
    prompts = ["It was", "Chapter 2. It was the best"]
    expected = gw.generate(
        run.model("last"), [run.tokenizer.encode(p) for p in prompts], max_new_tokens=5, end_id=run.tokenizer.eot_id
    )
    generate = pipeline("text-generation", model=str(tmp_path / "out"))
    found = generate(prompts, max_new_tokens=5, do_sample=False, batch_size=2, return_full_text=False)
    assert [row[0]["generated_text"] for row in found] == [run.tokenizer.decode(tokens) for tokens in expected]


def test_the_model_card_says_what_the_model_is(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["paglu"]
    save(run, tmp_path / "card")
    card = (tmp_path / "card" / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header) == {
        "library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["gatewright"]
    }  # fmt: skip
    assert run.summary is not None
    assert run.summary["architecture"] in body
    assert f"| parameters | {run.summary['parameters']:,} |" in body
    assert f"{run.summary['best_val_loss']:.4f}" in body
    assert f"{run.summary['val_perplexity']:,.4f}" in body
    assert run.environment["data"]["content_sha256"] in body
    assert f"| train | {run.environment['data']['train']['documents']} |" in body
    block = body.split("```yaml\n")[1].split("```")[0]
    written, own = gw.config.from_yaml(block), run.config
    assert (written.model, written.data, written.train) == (own.model, own.data, own.train)
    assert str(run.path.parent / "paglu") not in block


def test_native_export_through_the_command_line(runs: dict[str, Run], tmp_path: Path) -> None:
    for name, kind in (("llama", "LlamaForCausalLM"), ("gpt2", "GPT2LMHeadModel")):
        status, output = export(runs[name].path, tmp_path / name, "--native")
        assert status == 0, output
        model = AutoModelForCausalLM.from_pretrained(tmp_path / name)
        assert type(model).__name__ == kind
        tokens = ids(2, 20) % runs[name].config.model.vocab_size
        assert (logits(model, tokens) - logits(runs[name].model("best"), tokens)).abs().max() < 1e-4
        text = AutoTokenizer.from_pretrained(tmp_path / name)
        assert text(TEXT)["input_ids"] == runs[name].tokenizer.encode(TEXT)
    status, output = export(runs["paglu"].path, tmp_path / "paglu", "--native")
    assert status == 1
    assert "none of transformers' own families: model.norm" not in output
    assert "model.feedforward is paGLU" in output
    assert not (tmp_path / "paglu").exists()


def test_nothing_that_exists_is_overwritten(runs: dict[str, Run], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for place in (tmp_path / "there", runs["llama"].path):
        with pytest.raises(UserError, match=f"{place} exists; choose another folder"):
            save(runs["llama"], place)
    with pytest.raises(UserError, match="is not a run directory"):
        save(tmp_path / "there", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=f"cannot write {tmp_path / 'file' / 'out'}: Not a directory"):
        save(runs["llama"], tmp_path / "file" / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"there", "file"}
    assert not list((tmp_path / "there").iterdir())


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GatewrightForCausalLM, "save_pretrained", full)
    with pytest.raises(RunError, match=f"cannot write {tmp_path / 'out'}: No space left on device"):
        save(make("llama"), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def run_python(program: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = "{'torch', 'transformers', 'numpy'} & set(sys.modules)"


def test_importing_gatewright_imports_neither_transformers_nor_torch(tmp_path: Path) -> None:
    assert run_python(f"import sys, gatewright, gatewright.cli; print({HEAVY})", tmp_path) == "set()\n"


def test_models_are_known_if_transformers_was_there_first(tmp_path: Path) -> None:
    save(make("llama"), tmp_path / "saved")
    program = """
from transformers.models.llama.modeling_llama import LlamaForCausalLM
import gatewright
from transformers import AutoConfig, AutoModelForCausalLM
print(type(AutoConfig.from_pretrained("saved")).__name__, type(AutoModelForCausalLM.from_pretrained("saved")).__name__)
"""
    assert run_python(program, tmp_path) == "GatewrightConfig GatewrightForCausalLM\n"


def test_models_are_known_if_gatewright_was_there_first(runs: dict[str, Run], tmp_path: Path) -> None:
    save(runs["llama"], tmp_path / "mine")
    use = (tmp_path / "mine" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    program = f"""
import gatewright, importlib, sys
assert not {HEAVY}
from transformers.modeling_layers import GradientCheckpointingLayer  # imports the auto classes half-way through
from transformers.models.auto import configuration_auto, modeling_auto
for module in (configuration_auto, modeling_auto):
    assert module.__spec__.name == module.__name__ and module.__file__.endswith(".py")
importlib.reload(gatewright)
assert sum(getattr(finder, "__name__", "") == "Registration" for finder in sys.meta_path) == 1
print(gatewright.hf.save.__module__)
{use}"""
    module, said, *_ = run_python(program, tmp_path).split("\n")
    assert module == "gatewright.hf.folder"
    assert said.startswith("The")


def test_a_transformers_that_is_too_old_still_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "an_auto_module.py").write_text("answer = 42\n")
    (tmp_path / "our_follower.py").write_text("from transformers import SomethingOfTheFuture\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registration.FOLLOWERS, "an_auto_module", "our_follower")
    with pytest.warns(UserWarning, match="models are unknown to this transformers: cannot import name 'SomethingOf"):
        module = importlib.import_module("an_auto_module")
    assert module.answer == 42
