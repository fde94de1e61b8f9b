"""What a run leaves behind, and that mistakes leave nothing behind."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import gatewright
from gatewright.config import Config, from_yaml
from gatewright.data import evaluation_batches, prepare
from gatewright.errors import RunError, UserError
from gatewright.evaluate.run import evaluate_run
from gatewright.run import Run

GATED = {"feedforward": "paglu", "activation": None, "alpha": "scheduler_cosine"}


def test_every_promised_file_and_number_is_there(tiny: Callable[..., Config], console: Console) -> None:
    run = gatewright.train(tiny(model=GATED, save_every=5, keep_last=1), console=console)
    assert isinstance(run, Run)
    assert run.status == "finished"
    assert run.name == "run"

    train = run.train_records()
    assert [record["step"] for record in train] == list(range(1, 13))
    assert [record["tokens"] for record in train] == [128 * step for step in range(1, 13)]
    expected = {"kind", "step", "tokens", "loss", "lr", "grad_norm", "alpha", "tokens_per_second", "mfu"}
    assert expected | {"memory_bytes", "time"} <= train[0].keys()
    assert all(record["grad_norm"] > 0 and record["memory_bytes"] > 0 for record in train)
    assert [record["step"] for record in run.eval_records()] == [4, 8, 12]

    summary = run.summary
    assert summary["architecture"] == gatewright.architecture_name(run.config.model)
    assert summary["parameters"] == sum(p.numel() for p in run.model().parameters())
    assert summary["flops_per_token"] == gatewright.cost(run.config.model).flops_per_token
    assert (summary["steps"], summary["tokens"], summary["seed"], summary["error"]) == (12, 12 * 128, 0, None)
    assert summary["final_train_loss"] == train[-1]["loss"]
    losses = {record["step"]: record["val_loss"] for record in run.eval_records()}
    assert summary["best_val_loss"] == min(losses.values()) == losses[summary["best_val_step"]]
    assert summary["final_val_loss"] == losses[12]
    assert summary["val_perplexity"] == pytest.approx(math.exp(losses[12]))
    rate = summary["flops_per_token"] * summary["tokens_per_second"] / run.environment["peak_flops"]
    assert summary["mfu"] == pytest.approx(rate)
    assert summary["peak_memory_bytes"] >= train[-1]["memory_bytes"] > 10_000_000

    environment = run.environment
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["peak_how"] == "measured"
    assert environment["data"]["content_sha256"] == prepare(run.config.data).describe()["content_sha256"]
    assert environment["precision"] == run.config.train.precision == "float32"
    assert (run.path / "config.yaml").read_text() == (run.checkpoint("last") / "config.yaml").read_text()
    assert run.tokenizer.decode(run.tokenizer.encode("the gate opens")) == "the gate opens"


def test_scheduled_alpha_moves_is_logged_and_is_in_the_checkpoint(
    tiny: Callable[..., Config], console: Console
) -> None:
    run = gatewright.train(tiny(model=GATED), console=console)
    for layer in ("0", "1"):
        course = [record["alpha"][layer] for record in run.train_records()]
        expected = [(1 - math.cos(math.pi * step / 12)) / 2 for step in range(1, 13)]
        assert course == pytest.approx(expected, abs=1e-6)
        assert run.model("last").alphas()[layer] == pytest.approx(1.0)
        assert run.summary["alpha"][layer] == pytest.approx(1.0)


def test_loss_falls_and_the_evaluation_is_that_of_the_saved_model(
    tiny: Callable[..., Config], console: Console
) -> None:
    run = gatewright.train(tiny(max_steps=40, log_every=5, eval_every=10, save_every=10, keep_last=4), console=console)
    records = run.train_records()
    assert [record["step"] for record in records] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]
    # scored here once more, by hand
    data = prepare(run.config.data)
    (input_ids, labels), *rest = evaluation_batches(data.validation, 32, 64, 400)
    assert not rest
    with torch.no_grad():
        logits = run.model("last")(input_ids).logits.double()
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    assert run.summary["final_val_loss"] == pytest.approx(expected.item(), rel=1e-6)
    hits = (logits.argmax(-1) == labels)[labels != -100].double().mean()
    assert run.summary["val_token_accuracy"] == pytest.approx(hits.item())
    again = evaluate_run(run, which="last", device="cpu")
    assert again.val_loss == run.summary["final_val_loss"]
    assert again.tokens == 400
    # one byte is one token; only separators are tokens without a byte
    assert math.log(again.val_perplexity_byte or 0) == pytest.approx(again.val_loss, rel=0.02)


def test_a_record_is_the_mean_of_the_steps_since_the_last(tiny: Callable[..., Config], console: Console) -> None:
    each = gatewright.train(tiny("each"), console=console).train_records()
    third = gatewright.train(tiny("third", log_every=3), console=console).train_records()
    for record in third:
        window = [one["loss"] for one in each if record["step"] - 3 < one["step"] <= record["step"]]
        assert record["loss"] == pytest.approx(sum(window) / 3, rel=1e-12)


def test_checkpoints_kept_are_the_last_ones_and_the_best(tiny: Callable[..., Config], console: Console) -> None:
    # a learning rate that soon is far too high makes an early checkpoint the best
    config = tiny(max_steps=20, save_every=4, eval_every=4, keep_last=2, learning_rate=10.0, warmup_steps=20)
    run = gatewright.train(config, console=console)
    best = run.summary["best_val_step"]
    assert best < 16
    assert [path.name for path in run.checkpoints()] == [f"step-{best}", "step-16", "step-20"]
    assert run.checkpoint("best").name == f"step-{best}"
    assert run.checkpoint("last").name == "step-20"


def test_tensorboard_has_the_same_numbers(tiny: Callable[..., Config], console: Console) -> None:
    run = gatewright.train(tiny(model=GATED, tensorboard=True), console=console)
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    for tag, key in {"train/loss": "loss", "train/gradient_norm": "grad_norm"}.items():
        expected = [(record["step"], pytest.approx(record[key])) for record in run.train_records()]
        assert [(event.step, event.value) for event in events.Scalars(tag)] == expected
    assert [event.step for event in events.Scalars("eval/loss")] == [4, 8, 12]
    assert "alpha/layer 1" in events.Tags()["scalars"]


def test_what_is_printed(tiny: Callable[..., Config], console: Console) -> None:
    run = gatewright.train(tiny(model=GATED), console=console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert run.summary["architecture"] in printed
    for word in ("feedforward", "paglu", "FLOPs per token", "attention / FFN", "peak", "MFU", "gradients: norm"):
        assert word in printed
    assert "step     12/12" in printed
    assert "ETA 0:00:00" in printed
    assert "val loss" in printed
    assert "\x1b" not in printed  # no terminal, no control codes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: setattr(config, "device", "cuda"), "device=cuda: torch"),
        (lambda config: setattr(config.train, "precision", "fp16"), "train.precision=fp16 needs device=cuda"),
        (lambda config: setattr(config.parallel, "mode", "dpp"), "unknown parallel.mode 'dpp'"),
        (lambda config: setattr(config.data, "path", "/nowhere/at/all"), "/nowhere/at/all"),
        (lambda config: setattr(config.model, "n_head", 5), "model.n_head=5 does not divide"),
        (lambda config: setattr(config.model, "block_size", 10**6), "block_size"),
        (lambda config: setattr(config.train, "max_steps", 0), "train.max_steps=0: must be at least 1"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    tiny: Callable[..., Config], console: Console, change: Callable[[Config], Any], message: str
) -> None:
    config = tiny()
    change(config)
    with pytest.raises(UserError, match=message) as caught:
        gatewright.train(config, console=console)
    assert "\n" not in str(caught.value)
    assert not Path(config.out or "").exists()


def test_model_vocabulary_that_is_too_small_is_refused(tiny: Callable[..., Config], console: Console) -> None:
    config = tiny(model={"vocab_size": 100})
    config.data.vocabulary = "model"
    with pytest.raises(UserError, match=r"model.vocab_size=100 is less than the 257 tokens"):
        gatewright.train(config, console=console)


def test_data_sets_the_vocabulary_unless_the_model_keeps_it(tiny: Callable[..., Config], console: Console) -> None:
    assert gatewright.train(tiny("a", max_steps=1), console=console).config.model.vocab_size == 257
    config = tiny("b", max_steps=1, model={"vocab_size": 300})
    config.data.vocabulary = "model"
    assert gatewright.train(config, console=console).model().embedding.num_embeddings == 300


def test_existing_folder_is_an_error_and_stays_as_it_was(tiny: Callable[..., Config], console: Console) -> None:
    run = gatewright.train(tiny(), console=console)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="exists; choose another out=, or continue that run with resume=auto"):
        gatewright.train(tiny(), console=console)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_folder_of_something_else_is_never_written_to(
    tiny: Callable[..., Config], console: Console, tmp_path: Path
) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("precious")
    for resume in ("never", "auto"):
        with pytest.raises(UserError, match="exists and is not a run directory"):
            gatewright.train(tiny("thesis", resume=resume), console=console)
    assert [path.name for path in folder.iterdir()] == ["chapter.txt"]


def test_out_is_chosen_when_none_is_given(
    tiny: Callable[..., Config], console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny(max_steps=1)
    config.out = None
    run = gatewright.train(config, console=console)
    assert run.path.parent == Path("runs")
    assert run.name.startswith("2L-2H-32D-")
    assert run.config.out == str(run.path)
    config.resume = "auto"
    with pytest.raises(UserError, match="resume=auto needs out="):
        gatewright.train(config, console=console)


def test_the_request_is_not_changed(tiny: Callable[..., Config], console: Console) -> None:
    config = tiny(max_steps=1, precision="auto")
    before = json.dumps(config, default=vars)
    run = gatewright.train(config, console=console)
    assert json.dumps(config, default=vars) == before
    assert run.config.train.precision in ("bf16", "float32")
    assert from_yaml((run.path / "config.yaml").read_text()).resume == "never"


def test_torch_settings_are_put_back(tiny: Callable[..., Config], console: Console) -> None:
    torch.use_deterministic_algorithms(False)
    gatewright.train(tiny(max_steps=1, deterministic=True, threads=2), console=console)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 1


def test_bf16_trains_and_keeps_float32_weights(tiny: Callable[..., Config], console: Console) -> None:
    run = gatewright.train(tiny(precision="bf16", max_steps=20), console=console)
    exact = gatewright.train(tiny("exact", max_steps=20), console=console)
    assert all(parameter.dtype == torch.float32 for parameter in run.model().parameters())
    assert run.summary["final_val_loss"] == pytest.approx(exact.summary["final_val_loss"], rel=0.02)
    assert run.summary["final_val_loss"] != exact.summary["final_val_loss"]


def test_compiled_runs_save_weights_under_their_plain_names(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the graph captured but run by torch itself, so that the test does not wait for a C++ compiler."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, **options: compile_(module, **{**options, "backend": "eager"}))
    options = {"model": {"dropout": 0.1}, "max_steps": 4}
    compiled = gatewright.train(tiny("compiled", compile=True, **options), console=console)
    plain = gatewright.train(tiny("plain", **options), console=console)
    ours, theirs = (load_file(run.checkpoint("last") / "model.safetensors") for run in (compiled, plain))
    assert ours.keys() == theirs.keys()
    assert compiled.summary["final_val_loss"] == pytest.approx(plain.summary["final_val_loss"], rel=1e-5)


def test_experts_report_their_load_and_their_loss(tiny: Callable[..., Config], console: Console) -> None:
    run = gatewright.train(tiny(model={"feedforward": "moe", "activation": None}, grad_accumulation=2), console=console)
    for record in run.train_records():
        assert record["aux_loss"] > 0
        assert record["reports"]["0.expert_utilisation"] > 0
    assert run.summary["active_parameters"] < run.summary["parameters"]
    assert "aux_loss" not in gatewright.train(tiny("plain"), console=console).train_records()[0]


def test_without_a_checkpoint_at_the_end_none_is_written(tiny: Callable[..., Config], console: Console) -> None:
    run = gatewright.train(tiny(save_every=12, checkpoint_at_end=False), console=console)
    assert run.status == "finished"
    assert run.checkpoints() == []
    with pytest.raises(UserError, match="has no usable checkpoint"):
        run.model()


def test_out_of_memory_says_what_to_do(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatewright.training.update import Updater

    def allocate(self: Updater, step: int) -> None:
        torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(Updater, "step", allocate)
    with pytest.raises(RunError, match=r"out of memory on cpu at step 1; lower train.batch_size"):
        gatewright.train(tiny(), console=console)


def test_reading_what_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        Run(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"it has no config.yaml"):
        Run(tmp_path)
