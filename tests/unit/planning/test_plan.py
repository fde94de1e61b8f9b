"""Plans as a whole: what is chosen, how long it takes, and what the words on the command line become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from published import llama1

from gatewright.cli import main
from gatewright.config import Config, ModelConfig, to_yaml
from gatewright.errors import UserError
from gatewright.model import cost
from gatewright.planning import Plan, PlanRequest, plan, read_request
from gatewright.planning.kinds import kinds
from gatewright.planning.scaling import BESIROGLU

SMALL = ModelConfig(n_layer=2, n_head=4, n_embd=64, block_size=128, vocab_size=500)
LARGE = llama1(32, 32, 4096, 11_008)


def made(model: ModelConfig = SMALL, **request: Any) -> Plan:
    """A plan."""
    return plan(model, PlanRequest(**request))


def test_the_simplest_that_fits() -> None:
    assert made(gpus=1).choice.mode == "none"
    assert made(gpus=8).choice.mode == "ddp"
    tight = made(LARGE, gpus=64)
    assert (tight.choice.mode, tight.choice.fits) == ("fsdp2", True)
    assert tight.largest["ddp"] == {"none": 0, "feedforward": 0, "blocks": 0}


def test_checkpointing_only_where_it_is_needed() -> None:
    assert made(LARGE, gpus=64).choice.recompute == "none"
    assert made(LARGE, gpus=64, kind="l4", network=100).choice.recompute == "blocks"
    assert made(LARGE, gpus=64, recompute="blocks").choice.recompute == "blocks"


def test_what_does_not_fit_says_on_how_many_it_would() -> None:
    found = made(LARGE, gpus=1)
    assert not found.choice.fits
    assert found.needed is not None
    assert found.needed > 1
    assert made(LARGE, gpus=found.needed, mode="fsdp2", micro_batch=1, batch_tokens=found.needed * 2048).choice.fits


@pytest.mark.parametrize("gpus", [1, 3, 8])
def test_the_batch_comes_near_what_is_asked(gpus: int) -> None:
    found = made(gpus=gpus, batch_tokens=100_000)
    choice = found.choice
    assert found.batch_tokens == gpus * choice.micro_batch * choice.micro_batches * 128
    assert abs(found.batch_tokens - 100_000) <= gpus * 128 / 2
    assert made(gpus=gpus, batch_tokens=100_000, micro_batch=7).choice.micro_batch == 7


def test_no_number_is_too_large() -> None:
    assert not made(micro_batch=10**12).choice.fits
    assert made(batch_tokens=1e15).choice.fits
    assert made(gpus=10**9, tokens=1e30).days > 0


def test_lengths() -> None:
    parameters = cost(SMALL).parameters
    assert made().tokens == pytest.approx(BESIROGLU.tokens_for(parameters))
    assert made(flops=1e15).tokens == pytest.approx(1e15 / 6 / parameters)
    days = made(days=2.5)
    assert days.days == pytest.approx(2.5)
    again = made(tokens=days.tokens).to_dict()["training"]
    assert again["days"] == pytest.approx(2.5)
    assert again["gpu_hours"] == pytest.approx(2.5 * 24)
    assert again["flops"] == pytest.approx(days.tokens * cost(SMALL).flops_per_token)


def test_the_given_mfu_is_the_one_reported() -> None:
    found = made(mfu=0.37, gpus=16).to_dict()["speed"]
    assert found["mfu"] == pytest.approx(0.37)
    per_second = 0.37 * 989.5e12 / cost(SMALL).flops_per_token
    assert found["tokens_per_second_per_gpu"] == pytest.approx(per_second)
    assert found["tokens_per_day"] == pytest.approx(16 * 86_400 * per_second)


def test_off_the_optimum_costs_loss() -> None:
    """124 M parameters on 300 M tokens are too many on too few, by all laws."""
    found = made(ModelConfig(), tokens=300e6).scaling()
    assert found["extrapolated"]
    for law in found["laws"].values():
        assert law["best_parameters"] < 0.4 * found["parameters"]
        assert 6 * law["best_parameters"] * law["best_tokens"] == pytest.approx(found["flops"])
        assert 0.02 < law["excess_loss"] < 0.4
    best = made().scaling()["laws"]["besiroglu2024"]
    assert best["excess_loss"] == pytest.approx(0, abs=1e-9)


def test_experts_that_are_not_asked_do_not_count_for_the_laws() -> None:
    mixture = ModelConfig(n_layer=1, n_head=4, n_embd=64, block_size=128, vocab_size=500,
                          feedforward={"name": "moe", "n_experts": 4, "top_k": 2})  # fmt: skip
    found = made(mixture)
    assert found.scaling()["parameters"] == cost(mixture).active_parameters < cost(mixture).parameters


def test_words_become_a_request_and_a_model() -> None:
    request, model = read_request(["model=llama", "gpus=64", "model.n_layer=3", "tokens=1e9", "kind=a100", "mode=null"])
    assert request == PlanRequest(gpus=64, kind="a100", tokens=1e9)
    assert (model.n_layer, model.feedforward) == (3, "swiglu")


def test_a_model_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(Config(model=SMALL)))
    _, model = read_request(["model.n_layer=5"], tmp_path / "config.yaml")
    assert (model.n_layer, model.n_embd) == (5, 64)


MISTAKES = {
    "gpsu=4": "'gpus'",
    "gpus.x=4": "'gpus'",
    "modle.n_layer=4": "'model'",
    "model.n_layr=4": "'model.n_layer'",
    "train.max_steps=4": "'train'",
    "kind=h10": "'h100'",
    "mode=fsdp": "fsdp2",
    "gpus": "key=value",
    "gpus=1,2": "sweep",
    "gpus=0": "gpus=0",
    "gpus=2.5": "gpus=2.5",
    "tokens=-1": "tokens=-1",
    "tokens=many": "tokens='many'",
    "mfu=40": "mfu=40",
    "mfu=0": "mfu=0",
    "micro_batch=0": "micro_batch=0",
    "tokens=1e9 days=1": "tokens and days",
    "mode=none gpus=2": "mode=none",
    "kind=l4 gpus=9": "network=",
    "kind=t4": "precision=bf16",
    "batch_tokens=100": "batch_tokens=100",
    "micro_batch=8 batch_tokens=4096": "batch_tokens=4096",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_named(words: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(*reversed(read_request(words.split())))
    assert MISTAKES[words] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run ``gatewright plan`` and return its exit status and output."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["gatewright", "plan", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        return (int(stopped.value.code or 0), *capsys.readouterr())

    return run


@pytest.mark.parametrize("words", ["", "gpus=2048 kind=a100 mode=fsdp2 flops=1e25", "kind=rtx-3090 model.n_embd=9216"])
def test_the_page_is_readable_in_80_columns(command: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewright.cli.planning.console.width", 80)
    code, shown, _ = command(*words.split())
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 80
    for expected in ("Memory of a device", "Largest micro-batch", "MFU", "days", "besiroglu2024", "Assumed:"):
        assert expected in shown
    assert "…" not in shown
    assert ("Does not fit" in shown) == ("n_embd" in words)


def test_json_has_all_the_numbers(command: Any) -> None:
    code, shown, _ = command("model=small", "gpus=8", "--json")
    assert code == 0
    found = json.loads(shown)
    assert set(found["memory"]["by_mode_bytes"]) == {"ddp", "zero1", "fsdp2"}
    assert found["memory"]["total_bytes"] == sum(found["memory"]["by_mode_bytes"]["ddp"].values())
    assert found["request"]["kind"] == "h100"
    assert found["speed"]["tokens_per_second"] * found["speed"]["step"] == pytest.approx(found["speed"]["batch_tokens"])


def test_a_mistake_ends_with_two(command: Any) -> None:
    code, shown, said = command("kind=h1000")
    assert (code, shown) == (2, "")
    assert said.startswith("gatewright: unknown kind 'h1000'; did you mean 'h100'?")
    assert said.count("\n") == 1


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_can_be_planned_for(kind: str) -> None:
    precision = "bf16" if kind not in ("v100", "t4") else "fp16"
    found = made(kind=kind, precision=precision, gpus=8)
    assert found.choice.fits
    assert 0 < found.mfu < 1
