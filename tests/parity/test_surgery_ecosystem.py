"""Patched models under the libraries that people train them with."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, cpu_offload, dispatch_model
from accelerate.state import AcceleratorState
from peft import LoraConfig, PeftModel, get_peft_model
from surgery_models import SUBJECTS, gpt2, ids, llama, logits, refusals
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

import gatewright as gw
from gatewright.errors import UserError
from gatewright.parts.alpha.base import Alpha
from gatewright.surgery import alpha_parameters, alphas, parameter_groups
from gatewright.surgery.trainer_callback import AlphaCallback

AT_ZERO = {"name": "learnable", "start": 0.0, "range": "clamp"}
MLP = {gpt2: ["mlp.c_fc", "mlp.c_proj"], llama: ["gate_proj", "up_proj", "down_proj"]}
BOTH = pytest.mark.parametrize("build", [gpt2, llama])


def lora(build: Any, **settings: Any) -> LoraConfig:
    is_gpt2 = build is gpt2
    return LoraConfig(
        r=2,
        target_modules=MLP[build],
        task_type="CAUSAL_LM",
        init_lora_weights=False,
        fan_in_fan_out=is_gpt2,
        **settings,
    )


def train(model: nn.Module, steps: int = 3) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(steps):
        (-model(input_ids=ids(2, 8)).logits.log_softmax(-1)[..., 3]).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@BOTH
def test_lora_before_the_patch(build: Any) -> None:
    model = get_peft_model(build(), lora(build)).eval()
    adapted = logits(model)
    report = gw.patch(model, alpha=0.0)
    assert report.modules == gw.patch(build()).modules  # counted from the model inside
    assert torch.equal(logits(model), adapted)
    gw.unpatch(model)
    assert torch.equal(logits(model), adapted)
    gw.patch(model, alpha=0.5)
    gated = logits(model)
    assert not torch.allclose(gated, adapted, atol=1e-2)
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits(merged), gated, atol=1e-5, rtol=1e-4)
    gw.unpatch(merged)
    torch.testing.assert_close(logits(merged), adapted, atol=1e-5, rtol=1e-4)


@BOTH
def test_lora_after_the_patch(build: Any, tmp_path: Path) -> None:
    adapted = logits(get_peft_model(build(), lora(build)).eval()).shape
    model = build()
    gw.patch(model, alpha=0.5)
    gated = logits(model)
    torch.manual_seed(0)
    model = get_peft_model(model, lora(build)).eval()
    changed = logits(model)
    assert changed.shape == adapted
    assert not torch.allclose(changed, gated, atol=1e-2)  # the targets inside the patched block were found
    assert sum("lora_A" in name and ".mlp." in name for name, _ in model.named_parameters()) == 2 * len(MLP[build])
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits(merged), changed, atol=1e-5, rtol=1e-4)
    merged.save_pretrained(tmp_path)
    assert torch.equal(logits(gw.load_patched(tmp_path)), logits(merged))
    expected = build()
    torch.manual_seed(0)
    expected = get_peft_model(expected, lora(build)).eval()
    gw.unpatch(merged)
    torch.testing.assert_close(logits(merged), logits(expected), atol=1e-5, rtol=1e-4)


@BOTH
def test_lora_trains_and_saves_alpha_with_the_adapter(build: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build()
    gw.patch(model, alpha="learnable_0.3")
    model = get_peft_model(model, lora(build, modules_to_save=["alpha"])).eval()
    assert any(parameter.requires_grad for parameter in alpha_parameters(model).values())
    train(model)
    assert all(value != pytest.approx(0.3, abs=1e-4) for value in alphas(model).values())
    assert "has to be merged into the model" in refusals(model, lambda: gw.freeze_alpha(model))
    model.save_pretrained(tmp_path)
    again = build()
    gw.patch(again, alpha="learnable_0.3")
    again = PeftModel.from_pretrained(again, tmp_path).eval()
    assert torch.equal(logits(again), logits(model))
    assert alphas(again) == alphas(model)
    merged = model.merge_and_unload()
    assert alphas(merged) == alphas(again)
    assert len(gw.freeze_alpha(merged).constant) == 2


@pytest.fixture
def no_accelerator_yet() -> Iterator[None]:
    """Accelerate keeps one state in a process, so that a trainer of an earlier test would settle the precision."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@BOTH
@pytest.mark.usefixtures("no_accelerator_yet")
def test_accelerate_prepares_and_dispatches(build: Any) -> None:
    trained = logits(build())
    model = dispatch_model(build(), {"": "cpu"}, main_device="cpu", force_hooks=True)
    gw.patch(model)
    assert torch.equal(logits(model), trained)
    gw.unpatch(model)
    assert torch.equal(logits(model), trained)

    model = build()
    gw.patch(model, alpha=0.5)
    gated = logits(model)
    cpu_offload(model)
    assert torch.equal(logits(model), gated)
    model = build()
    cpu_offload(model)
    with pytest.raises(UserError, match="are offloaded; patch the model before dispatching it"):
        gw.patch(model)

    accelerator = Accelerator(mixed_precision="bf16", cpu=True)
    model = accelerator.prepare(build())
    low = logits(model)
    gw.patch(model)
    assert torch.equal(logits(model), low)
    model = build()
    gw.patch(model, alpha=AT_ZERO)
    optimizer = torch.optim.SGD(parameter_groups(model, 1e-3, 1e-1))
    model, optimizer = accelerator.prepare(model, optimizer)
    assert torch.equal(logits(model), low)
    loss = -model(input_ids=ids(2, 8)).logits.log_softmax(-1)[..., 3].mean()
    accelerator.backward(loss)
    assert all(parameter.grad != 0 for parameter in alpha_parameters(model).values())
    before = {name: parameter.detach().clone() for name, parameter in alpha_parameters(model).items()}
    optimizer.step()
    assert all(parameter != before[name] for name, parameter in alpha_parameters(model).items())


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5 with relu", "bart"])
def test_gradient_checkpointing_gives_the_same_gradients(name: str, reentrant: bool) -> None:
    subject = SUBJECTS[name]
    found: list[dict[str, Tensor]] = []
    for checkpointed in (False, True):
        model, inputs = subject.build(), subject.inputs()
        model.config.use_cache = False
        gw.patch(model, alpha=["input_projection", "learnable_0.3"] * (subject.blocks // 2))
        if checkpointed:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        torch.manual_seed(0)
        model.train()(**inputs).logits.square().mean().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, again = found
    assert set(plain) == set(again)
    assert any("alpha" in name for name in plain)
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-5, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("alpha", [0.3, "learnable_0.3", "input_projection"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "bart"])
def test_a_block_compiles_in_one_graph_that_serves_every_alpha(name: str, alpha: Any) -> None:
    model = SUBJECTS[name].build()
    gw.patch(model, alpha=alpha)
    holder = model.get_submodule(next(iter(alphas(model))))
    block = nn.Sequential(holder) if name != "bart" else nn.Sequential(holder.fc1, holder.activation_fn, holder.fc2)
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    torch._dynamo.reset()
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    before = compiled(x)
    torch.testing.assert_close(before, block(x), atol=1e-6, rtol=1e-5)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for gate in (module for module in block.modules() if isinstance(module, Alpha)):
            for number in [*gate.parameters(), *gate.buffers()]:
                number.data.fill_(0.9)
        assert not torch.allclose(compiled(x), before, atol=1e-3)
        torch.testing.assert_close(compiled(x), block(x), atol=1e-6, rtol=1e-5)


def test_patching_a_compiled_model_takes_effect() -> None:
    block = nn.Sequential(gpt2().transformer.h[0].mlp)
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    torch._dynamo.reset()
    compiled = torch.compile(block, backend="eager")
    trained = compiled(x)
    assert gw.patch(compiled, alpha=0.5).modules == ["0"]
    gated = block(x)
    assert not torch.allclose(gated, trained, atol=1e-3)
    torch.testing.assert_close(compiled(x), gated, atol=1e-6, rtol=1e-5)
    gw.unpatch(compiled)
    torch.testing.assert_close(compiled(x), trained, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_patched_model_is_exported() -> None:
    model = gpt2()
    gw.patch(model, alpha="input_entropy")
    program = torch.export.export(model, (ids(2, 10),), {"use_cache": False}, strict=False)
    exported = program.module()(ids(2, 10), use_cache=False).logits
    torch.testing.assert_close(exported, logits(model), atol=1e-6, rtol=1e-5)


def test_two_threads_may_use_one_model() -> None:
    """Held up until both have been through the projection: neither may see what the other put in."""
    model = gpt2(n_layer=1)
    gw.patch(model, alpha=0.5)
    inputs = [{"input_ids": ids(2, 8)}, {"input_ids": ids(2, 8).flip(1)}]
    expected = [logits(model, each) for each in inputs]
    both = threading.Barrier(2, timeout=60)

    def wait(*_: Any) -> None:
        both.wait()

    handle = model.transformer.h[0].mlp.c_fc.register_forward_hook(wait)
    found: dict[int, Tensor] = {}
    threads = [threading.Thread(target=lambda n=n: found.update({n: logits(model, inputs[n])})) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handle.remove()
    assert not torch.equal(*expected)
    assert all(torch.equal(found[number], expected[number]) for number in range(2))


def arguments(folder: Path, **settings: Any) -> TrainingArguments:
    quiet = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "logging_steps": 1}
    return TrainingArguments(str(folder), max_steps=4, per_device_train_batch_size=2, **quiet, **settings)


DATA = [{"input_ids": ids(1, 8)[0], "labels": ids(1, 8)[0]}] * 8


def test_the_callback_steps_and_logs_alpha_in_a_trainer(tmp_path: Path) -> None:
    model = gpt2()
    gw.patch(model, alpha=["scheduler_linear", 0.5])
    gw.set_step(model, 3, 4)  # whatever it was before
    seen: list[float] = []
    hook = model.transformer.h[0].mlp.act.register_forward_hook(lambda m, *_: seen.append(m.gate.alpha.value.item()))
    trainer = Trainer(model, arguments(tmp_path, save_steps=2), train_dataset=DATA, callbacks=[AlphaCallback()])
    trainer.train()
    hook.remove()
    assert seen == [0, 0.25, 0.5, 0.75]  # each update's own α
    assert list(alphas(model).values()) == [1, 0.5]
    history = [record for record in trainer.state.log_history if "loss" in record]
    assert [record["alpha/transformer.h.0.mlp"] for record in history] == [0.25, 0.5, 0.75, 1]
    assert [record["alpha/mean"] for record in history] == [0.375, 0.5, 0.625, 0.75]

    again = gw.load_patched(tmp_path / "checkpoint-2")
    assert list(alphas(again).values()) == [0.5, 0.5]
    resumed = Trainer(again, arguments(tmp_path), train_dataset=DATA, callbacks=[AlphaCallback()])
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert [r["alpha/transformer.h.0.mlp"] for r in resumed.state.log_history if "loss" in r][-2:] == [0.75, 1]


def test_alpha_in_a_trainer_with_its_own_learning_rate(tmp_path: Path) -> None:
    model = llama()
    gw.patch(model, alpha="learnable_0.3")
    optimizer = torch.optim.AdamW(parameter_groups(model, 1e-5, 1e-1))
    trainer = Trainer(
        model,
        arguments(tmp_path, lr_scheduler_type="constant", save_strategy="no"),
        train_dataset=DATA,
        callbacks=[AlphaCallback()],
        optimizers=(optimizer, None),
    )
    trainer.train()
    means = [record["alpha/mean"] for record in trainer.state.log_history if "loss" in record]
    assert len(set(means)) == 4
    assert max(abs(value - 0.3) for value in alphas(model).values()) > 0.02


def test_the_callback_wants_a_patched_model(tmp_path: Path) -> None:
    trainer = Trainer(gpt2(), arguments(tmp_path), train_dataset=DATA, callbacks=[AlphaCallback()])
    with pytest.raises(UserError, match="GPT2LMHeadModel has no α: it is not patched"):
        trainer.train()
