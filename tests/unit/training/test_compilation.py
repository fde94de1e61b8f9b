"""Which runs are compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

import gatewright as gw
from gatewright.config import RLConfig, load_config
from gatewright.errors import UserError
from gatewright.hardware.compiler import cpp_compiler
from gatewright.model import LanguageModel
from gatewright.study.plan import load_study
from gatewright.study.trials import make_plan
from gatewright.training import compilation
from gatewright.training.compilation import EARNED, compile_blocks, compiled, resolve_compile
from gatewright.training.diagnose import first_non_finite

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TOKENS = 8 * 1000 * 64
ENOUGH = EARNED["cpu"] / TOKENS


@pytest.fixture(autouse=True)
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "cpp_compiler", lambda: "/usr/bin/g++")


def decide(*overrides: str, device: torch.device = CPU, flops: float = ENOUGH) -> bool | str:
    config = load_config(["model.block_size=64", "train.batch_size=8", "train.max_steps=1000", *overrides])
    return resolve_compile(config, device, flops)


def test_long_runs_are_compiled_and_short_ones_not() -> None:
    assert decide()
    assert not decide(flops=0.99 * ENOUGH)
    assert not decide("train.max_steps=999")
    assert decide("train.max_steps=500", "train.grad_accumulation=2")


def test_an_accelerator_has_to_have_more_to_do() -> None:
    assert not decide(device=CUDA)
    assert decide(device=CUDA, flops=EARNED["cuda"] / TOKENS)
    assert not decide(device=torch.device("mps"), flops=1e30)


def test_what_is_asked_for_is_done() -> None:
    assert decide("train.compile=true", flops=1)
    assert not decide("train.compile=false", flops=1e30)
    assert decide("train.compile=blocks", flops=1) == "blocks"


@pytest.mark.parametrize(("key", "value"), [("init", "some/model"), ("rl", RLConfig()), ("parallel.mode", "ddp")])
def test_what_was_not_meant_for_it_is_left_alone(key: str, value: Any) -> None:
    config = load_config([])
    *block, name = key.split(".")
    setattr(getattr(config, *block) if block else config, name, value)
    assert not resolve_compile(config, CPU, 1e30)
    config.train.compile = True
    assert resolve_compile(config, CPU, 1e30)


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "cpp_compiler", lambda: None)
    assert not decide(flops=1e30)
    for said in ("true", "blocks"):
        with pytest.raises(UserError, match=rf"train.compile={said} needs a C\+\+ compiler"):
            decide(f"train.compile={said}")
    assert decide("train.compile=true", device=CUDA)


def test_the_arms_of_a_study_are_compiled_if_the_study_says_so(tmp_path: Path) -> None:
    def chosen(base: str) -> set[Any]:
        file = tmp_path / "study.yaml"
        file.write_text(
            f"name: s\nbase: [{base}]\nseeds: [0, 1]\nbaseline: a\n"
            "arms: {a: {about: short}, b: {overrides: [train.max_steps=1000000]}}\n"
        )
        return {config.train.compile for config in make_plan(load_study(file)).configs.values()}

    assert chosen("train.warmup_steps=1") == {False}
    assert chosen("train.compile=true") == {True}


def layered(n_layer: int) -> LanguageModel:
    return gw.build(load_config(["model=gpt2", "model.n_embd=32", "model.n_head=2", f"model.n_layer={n_layer}"]).model)


def test_layers_of_one_form_are_one_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = CompileCounter()
    monkeypatch.setattr(compilation, "_inductor", lambda deterministic, device: counter)
    model, ids = layered(9), torch.arange(16)[None]
    plain = model(ids, targets=ids).cross_entropy
    compile_blocks(model, True, CPU)
    compiled = model(ids, targets=ids).cross_entropy
    compiled.backward()
    assert counter.frame_count == 1
    torch.testing.assert_close(compiled, plain)
    for number, block in enumerate(model.blocks):
        block.attention_residual.norm.eps = (1 + number) * 1e-5
    model(ids, targets=ids)
    assert counter.frame_count == 9  # more than torch allows a function by itself, which it would leave alone


def test_where_a_nan_begins_is_found_inside_of_compiled_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_inductor", lambda deterministic, device: CompileCounter())
    model, ids = layered(2), torch.arange(16)[None]

    def run() -> torch.Tensor:
        loss = model(ids, targets=ids).cross_entropy
        loss.backward()
        return loss

    compile_blocks(model, True, CPU)
    run()
    with torch.no_grad():
        model.blocks[1].feedforward.down_proj.weight.fill_(3e38)
    assert first_non_finite(model, run) == "first non-finite output in blocks.1.feedforward.down_proj"


def test_a_model_without_layers_has_none_to_compile() -> None:
    with pytest.raises(UserError, match=r"train\.compile=blocks: this model has no list of layers"):
        compile_blocks(torch.nn.Linear(2, 2), True, CPU)


@pytest.mark.skipif(cpp_compiler() is None, reason="there is no C++ compiler")
def test_a_compiled_step_keeps_less_for_the_backward_pass_than_torch_would_have_it() -> None:
    model = gw.build(load_config(["model=gpt2", "model.n_layer=2", "model.n_embd=64", "model.n_head=2"]).model)
    own = {parameter.data_ptr() for parameter in model.parameters()}
    ids = torch.arange(64)[None]

    def kept(forward: Any) -> tuple[int, torch.Tensor]:
        """Bytes of what is kept besides the weights; and a gradient."""
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.data_ptr() not in own:
                sizes[tensor.data_ptr()] = tensor.nbytes
            return tensor

        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            loss = forward(ids, targets=ids, keep_logits=False).cross_entropy
        loss.backward()
        gradient = model.blocks[0].attention.q_proj.weight.grad
        assert gradient is not None
        return sum(sizes.values()), gradient

    (ours, gradient), (theirs, reference) = (
        kept(forward) for forward in (compiled(model, True, CPU), torch.compile(model, dynamic=False))
    )
    assert ours < 0.8 * theirs
    torch.testing.assert_close(gradient, reference, rtol=0.02, atol=1e-5)
