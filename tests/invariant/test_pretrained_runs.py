"""Runs that start from a model of transformers: with and without gates, resumed, read again, exported, compared."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file
from test_resume import numbers, stopped
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import gatewright
from gatewright.config import Config, DataConfig, ModelConfig, TrainConfig, load_config
from gatewright.config.patch import PatchConfig
from gatewright.data.tokenization.byte import ByteTokenizer
from gatewright.errors import RunError, UserError
from gatewright.evaluate.run import evaluate_run
from gatewright.hf import save
from gatewright.model.generate import generate
from gatewright.run import Run
from gatewright.study.board import describe_plan
from gatewright.study.compare import compare_runs
from gatewright.study.plan import load_study
from gatewright.study.trials import make_plan
from gatewright.surgery import load_patched
from gatewright.training.subject import open_subject, subject_cost, subject_name

ARMS: dict[str, dict[str, Any] | None] = {"plain": None, "paglu": {}}
TIED = {"tie_word_embeddings": True, "bos_token_id": 256, "eos_token_id": 256, "vocab_size": 300}
CLAMPED = {"name": "learnable", "start": 0.0, "range": "clamp"}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two tiny models that stand for trained ones, and their tokenizers."""
    folder = tmp_path_factory.mktemp("trained")
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        llama = LlamaForCausalLM(LlamaConfig(**sizes, max_position_embeddings=64, pad_token_id=256, **TIED))
        gpt2 = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=16, n_positions=64, **TIED))
    for name, model in (("llama", llama), ("gpt2", gpt2)):
        model.save_pretrained(folder / name)
        ByteTokenizer.make().save(folder / name)
    return folder


@pytest.fixture
def start(trained: Path, text_folder: Path, tmp_path: Path) -> Callable[..., Config]:
    """A function that makes a configuration with ``init``; ``patch`` as a mapping, the knobs of ``train`` by name."""

    def make(out: str, init: str = "llama", patch: dict[str, Any] | None = None, **train: Any) -> Config:
        options = {"batch_size": 4, "max_steps": 8, "log_every": 1, "eval_every": 4, "eval_tokens": 300}
        options |= {"save_every": 3, "tensorboard": False, "learning_rate": 3e-3}
        return Config(
            model=ModelConfig(block_size=32),
            data=DataConfig(source="files", path=str(text_folder), validation_fraction=0.1),
            train=TrainConfig(**{**options, **train}),
            init=str(trained / init),
            patch=None if patch is None else PatchConfig(**patch),
            out=str(tmp_path / out),
            device="cpu",
        )

    return make


def tensors(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.checkpoint("last") / "model.safetensors")


@pytest.mark.parametrize(
    ("init", "patch"),
    [
        ("gpt2", {"alpha": "learnable_0.3"}),  # with dropout and new projections
        ("llama", {"alpha": "scheduler_cosine", "gate": {"name": "paswishu", "gate_norm": "before"}}),
        ("gpt2", {"alpha": {"name": "learnable", "per": "model"}, "train": "alpha"}),
        ("gpt2", None),
    ],
    ids=["everything", "scheduled", "one shared alpha alone", "no gates"],
)
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    start: Callable[..., Config],
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
    init: str,
    patch: dict[str, Any] | None,
) -> None:
    whole = gatewright.train(start("whole", init, patch), console=console)
    stopped(start("parts", init, patch), 5, monkeypatch, console)
    config = start("parts", init, patch)
    config.resume = "auto"
    parts = gatewright.train(config, console=console)
    assert numbers(parts) == numbers(whole)
    ours, theirs = tensors(parts), tensors(whole)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)
    assert parts.environment["resumed"][0]["step"] == 3
    from_file = load_config(["resume=auto", "train.max_steps=8"], parts.path / "config.yaml")
    assert gatewright.train(from_file, console=console).status == "finished"  # nothing to do


@pytest.mark.parametrize("init", ["gpt2", "llama"])
def test_at_alpha_zero_patched_and_unpatched_arms_begin_alike(
    start: Callable[..., Config], console: Console, init: str
) -> None:
    plain = gatewright.train(start("plain", init, max_steps=1), console=console)
    patched = gatewright.train(start("patched", init, {}, max_steps=1), console=console)
    assert patched.train_records()[0]["loss"] == plain.train_records()[0]["loss"]
    opened = [open_subject(run.config, torch.device("cpu")).model.eval() for run in (plain, patched)]
    tokens = torch.randint(256, (2, 32), generator=torch.Generator().manual_seed(0))
    first, second = (model(tokens, targets=tokens) for model in opened)
    assert torch.equal(first.logits, second.logits)
    assert first.loss == second.loss
    assert patched.summary["alpha"].keys() == {"0", "1"}
    assert plain.summary["alpha"] == {}


@pytest.mark.parametrize("init", ["gpt2", "llama"])
def test_training_alpha_alone_moves_nothing_else(
    start: Callable[..., Config], console: Console, trained: Path, init: str
) -> None:
    config = start("run", init, {"alpha": CLAMPED, "train": "alpha"}, alpha_learning_rate=0.05, weight_decay=0.5)
    run = gatewright.train(config, console=console)
    after, before = tensors(run), load_file(trained / init / "model.safetensors")
    kept = after.keys() & before.keys()
    assert {name.rpartition(".")[2] for name in after.keys() - kept} <= {"raw", "weight", "bias"}
    assert all(after[name].equal(before[name]) for name in kept)
    assert ("transformer.wte.weight" if init == "gpt2" else "model.embed_tokens.weight") in kept  # tied: named as there
    assert any(value > 1e-3 for value in run.summary["alpha"].values())
    if init == "gpt2":  # the new projections are drawn from the seed and stay so
        fresh = open_subject(run.config, torch.device("cpu")).model.state_dict()
        projections = [name for name in after if "gate_proj" in name]
        assert len(projections) == 4
        assert all(after[name].equal(fresh[name]) for name in projections)
    assert "2  parameters, α alone" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_run_is_read_scored_continued_and_exported(
    start: Callable[..., Config], console: Console, tmp_path: Path
) -> None:
    run = gatewright.train(start("run", "llama", {"alpha": 0.4, "layers": [1]}), console=console)
    model, tokens = run.model("last"), torch.randint(256, (2, 20), generator=torch.Generator().manual_seed(0))
    logits = model(tokens).logits
    assert not model.training
    assert run.tokenizer.vocab_size == 257
    assert (run.config.data.tokenizer, run.config.data.vocabulary) == (run.config.init, "model")
    assert (run.config.model.vocab_size, run.config.model.n_layer, run.config.model.block_size) == (300, 2, 32)
    assert evaluate_run(run, which="last").val_loss == pytest.approx(run.summary["final_val_loss"], rel=1e-6)
    assert len(generate(model, [run.tokenizer.encode("the gate"), [5]], max_new_tokens=5)[0]) == 5

    folder = run.checkpoint("last")
    assert torch.equal(load_patched(folder)(tokens).logits, logits)
    assert json.loads((folder / "config.json").read_text())["gatewright_patch"]["layers"] == [1]
    exported = save(run, tmp_path / "exported", checkpoint="last")
    opened = load_patched(exported)
    assert torch.equal(opened(tokens).logits, logits)
    assert opened.get_output_embeddings().weight is opened.get_input_embeddings().weight
    assert opened.generation_config.pad_token_id == 256
    card = (exported / "README.md").read_text()
    assert 'gatewright.load_patched("exported")' in card
    assert str(run.config.init) not in card
    with pytest.raises(UserError, match="no LlamaForCausalLM with gates"):
        save(run, tmp_path / "native", native=True)

    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match="cannot load"):
        run.load(folder)


def test_a_run_without_gates_opens_in_plain_transformers(
    start: Callable[..., Config], console: Console, tmp_path: Path
) -> None:
    run = gatewright.train(start("run", "gpt2"), console=console)
    tokens = torch.randint(256, (2, 20), generator=torch.Generator().manual_seed(0))
    logits = run.model("last")(tokens).logits
    for folder in (run.checkpoint("last"), save(run, tmp_path / "out", native=True, checkpoint="last")):
        opened = AutoModelForCausalLM.from_pretrained(folder)
        assert torch.equal(opened(tokens).logits, logits)
        assert opened.get_output_embeddings().weight is opened.get_input_embeddings().weight


def test_numbers_of_a_run_are_those_of_its_model(start: Callable[..., Config], console: Console) -> None:
    config = start("run", "gpt2", {})
    run = gatewright.train(config, console=console)
    plain = gatewright.train(start("plain", "gpt2"), console=console)
    added = 2 * (16 * 64 + 64 + 1)  # a projection with its bias, and α
    assert run.summary["parameters"] - plain.summary["parameters"] == added
    assert run.summary["flops_per_token"] - plain.summary["flops_per_token"] == 3 * 2 * 2 * 16 * 64
    cost = subject_cost(run.config)
    assert (cost.parameters, cost.flops_per_token) == (run.summary["parameters"], run.summary["flops_per_token"])
    assert subject_name(run.config) == run.summary["architecture"] == "gpt2-2L-2H-16D-paGLU(preserve,α=learnable@0)"


def test_runs_start_from_runs(start: Callable[..., Config], console: Console) -> None:
    first = gatewright.train(start("first", "llama", {}), console=console)
    config = start("second", "llama", max_steps=1)
    config.init = str(first.path)
    second = gatewright.train(config, console=console)
    assert second.config.data.tokenizer == str(first.path / "tokenizer")
    assert second.summary["alpha"].keys() == {"0", "1"}
    begun, best = open_subject(second.config, torch.device("cpu")).model.state_dict(), first.model("best").state_dict()
    assert begun.keys() == best.keys()
    assert all(begun[name].equal(best[name]) for name in best)
    config.out, config.patch = str(Path(config.out or "") / "third"), PatchConfig()
    with pytest.raises(UserError, match="patch: the model is patched already"):
        gatewright.train(config, console=console)


def test_runs_start_from_runs_of_our_own_models(tiny: Callable[..., Config], console: Console, tmp_path: Path) -> None:
    first = gatewright.train(
        tiny("first", model={"feedforward": "paglu", "activation": None, "alpha": 0.3}), console=console
    )
    config = Config(
        data=first.config.data, train=first.config.train, init=str(first.path), out=str(tmp_path / "second")
    )
    config.data.tokenizer, config.data.vocabulary = DataConfig().tokenizer, "tokenizer"
    second = gatewright.train(config, console=console)
    assert second.config.model == first.config.model
    assert second.config.data.tokenizer == str(first.path / "tokenizer")
    assert second.summary["architecture"] == first.summary["architecture"]
    begun, best = open_subject(second.config, torch.device("cpu")).model.state_dict(), first.model("best").state_dict()
    assert all(begun[name].equal(best[name]) for name in best)
    assert second.train_records()[0]["loss"] < first.train_records()[0]["loss"] - 0.1
    for change, message in (
        ({"patch": PatchConfig()}, "patch is for models of transformers"),
        ({"model": ModelConfig(n_layer=3)}, "model.n_layer=3: init="),
    ):
        other = Config(**{**vars(config), "out": str(tmp_path / "other"), **change})
        with pytest.raises(UserError, match=re.escape(message)):
            gatewright.train(other, console=console)
        assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["init=", "patch.gate=paglu"], "patch needs init="),
        (["patch.gate=paglo"], "did you mean 'paglu'"),
        (["patch.gat=paglu"], "unknown key 'patch.gat'"),
        (["patch.layers=[2]"], "patch: layers: no block 2"),
        (["patch.layers=[]"], "patch.layers=[]"),
        (["patch.layers=[0,0]"], "patch.layers=[0, 0]"),
        (["patch.layout={into: a}"], "patch.layout is for blocks named by patch.path"),
        (["patch.path=model.layer.*.mlp"], "did you mean 'model.layers.*.mlp'"),
        (["patch.alpha=1.5"], "α must be in [0, 1]"),
        (["patch.alpha=0.5", "patch.train=alpha"], "no α of this model is learned"),
        (["patch.form=skip"], "patch: form 'skip' mixes with its input"),
        (["model.n_layer=3"], "model.n_layer=3: init="),
        (["model=llama"], "of model there is only block_size to choose"),
        (["model.block_size=65"], "model.block_size=65: the context of init="),
        (["init=lama"], "did you mean 'llama'"),
        (["init=./nowhere"], "no such folder"),
        (["data.document_masking=true"], "data.document_masking: init=llama is a model of transformers"),
    ],
)
def test_mistakes_are_named_when_the_configuration_is_read(
    trained: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str
) -> None:
    monkeypatch.chdir(trained)
    base = [] if overrides[0].startswith("init=") else ["init=llama"]
    given = [override for override in overrides if override != "init="]
    with pytest.raises(UserError, match=re.escape(message)) as error:
        load_config([*base, *given])
    assert "\n" not in str(error.value)


def test_what_init_decides_can_be_said_otherwise_where_that_is_sound(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    config = load_config(["init=llama", "patch.gate=pareglu", "data.tokenizer=bpe-280", "model.n_layer=2"])
    assert config.patch == PatchConfig(gate="pareglu")
    assert (config.data.tokenizer, config.model.block_size) == ("bpe-280", 64)
    assert load_config(["init=llama", "model.block_size=16"]).model.block_size == 16
    assert load_config(["init=gpt2"]).data.tokenizer == "gpt2"
    assert load_config([]).patch is None


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(start: Callable[..., Config], console: Console) -> None:
    config = start("run")
    config.data.tokenizer = "bpe-310"
    with pytest.raises(UserError, match=r"init=.* has 300 tokens, fewer than the 310 of data.tokenizer=bpe-310"):
        gatewright.train(config, console=console)
    assert not Path(config.out or "").exists()


def test_the_shipped_study_has_arms_of_one_size_on_one_start(trained: Path) -> None:
    file = Path(__file__).parents[2] / "studies" / "surgery.yaml"
    plan = make_plan(load_study(file, [f"init={trained / 'llama'}", "model.block_size=32"]))
    costs = {arm: subject_cost(config) for arm, config in plan.configs.items()}
    assert {arm: cost.parameters - costs["plain"].parameters for arm, cost in costs.items()} == {
        "plain": 0, "preserve": 2, "blend": 2, "alpha-alone": 2,
    }  # fmt: skip
    assert costs["preserve"].forward_flops_per_token == costs["plain"].forward_flops_per_token
    assert costs["alpha-alone"].flops_per_token < costs["plain"].flops_per_token
    assert {config.data.tokenizer for config in plan.configs.values()} == {str(trained / "llama")}
    shown = Console(width=200, file=io.StringIO())
    shown.print(describe_plan(plan))
    assert f"{costs['plain'].parameters:,}" in shown.file.getvalue()  # type: ignore[attr-defined]


def test_a_study_says_which_arms_grew_and_which_start_elsewhere(
    trained: Path, start: Callable[..., Config], console: Console, tmp_path: Path
) -> None:
    values = {
        "name": "s", "seeds": [0], "baseline": "plain", "base": [f"init={trained / 'gpt2'}"],
        "arms": {"plain": {"overrides": []}, "paglu": {"overrides": ["patch.gate=paglu"]}},
    }  # fmt: skip
    for match, accepted in (("none", True), ("params", False)):
        (tmp_path / "s.yaml").write_text(yaml.safe_dump({**values, "match": match}))
        if accepted:
            assert make_plan(load_study(tmp_path / "s.yaml")).configs["paglu"].patch == PatchConfig()
        else:
            with pytest.raises(UserError, match=r"arm 'paglu': init=.* has its own sizes; say match: none"):
                make_plan(load_study(tmp_path / "s.yaml"))
    runs = [gatewright.train(start(f"runs/{name}", "gpt2", patch), console=console) for name, patch in ARMS.items()]
    runs.append(gatewright.train(start("runs/other", "llama"), console=console))
    remarks = [remark.text for remark in compare_runs(runs).analysis.remarks]
    assert any("more parameters than gpt2-2L-2H-16D" in text for text in remarks)
    assert any("differ in the weights they start from: init is" in text for text in remarks)
