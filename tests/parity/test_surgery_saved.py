"""Patched models saved and opened again, copied, and frozen for deployment."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from surgery_models import SUBJECTS, gpt2, ids, llama, logits
from torch import nn
from transformers import AutoModelForCausalLM, GPT2LMHeadModel, LlamaForCausalLM

import gatewright as gw
from gatewright.errors import UserError
from gatewright.surgery import alpha_parameters, alphas
from gatewright.surgery.gated_activation import GatedActivation

AT_ZERO = {"name": "learnable", "start": 0.0, "range": "clamp"}


def disturbed(model: nn.Module) -> nn.Module:
    """The model after something like training: every gate's numbers are other than at the start."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, GatedActivation):
                for parameter in module.parameters():
                    parameter.add_(torch.rand(parameter.shape, generator=generator) * 0.3)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bf16"])
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_saved_model_opens_with_its_gates(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    subject = SUBJECTS[name]
    model, inputs = subject.build(dtype), subject.inputs(dtype)
    spec = {"name": "paswishu", "gate_norm": "before"}
    gw.patch(model, spec, alpha={"name": "learnable", "start": 0.3, "per": "channel"}, layers=[1])
    expected = logits(disturbed(model), inputs)
    model.save_pretrained(tmp_path)
    assert list(tmp_path.glob("*.safetensors"))
    again = gw.load_patched(tmp_path, dtype=dtype)
    assert type(again) is type(model)
    assert torch.equal(logits(again.eval(), inputs), expected)
    assert alphas(again) == alphas(model)
    assert {name: tensor.dtype for name, tensor in again.state_dict().items()} == {
        name: tensor.dtype for name, tensor in model.state_dict().items()
    }
    again.save_pretrained(tmp_path / "again")
    assert torch.equal(logits(gw.load_patched(tmp_path / "again", dtype=dtype).eval(), inputs), expected)
    gw.unpatch(again)
    gw.unpatch(model)
    assert torch.equal(logits(again, inputs), logits(model, inputs))
    again.save_pretrained(tmp_path / "plain")
    assert "gatewright_patch" not in json.loads((tmp_path / "plain" / "config.json").read_text())


@pytest.mark.parametrize(
    "alpha",
    [
        0.4,
        AT_ZERO,
        "scheduler_cosine",
        "input_projection",
        {"name": "learnable", "per": "model"},
        [0.1, "input_entropy"],
    ],
    ids=str,
)
def test_every_kind_of_alpha_is_saved(alpha: Any, tmp_path: Path) -> None:
    model = gpt2()
    gw.patch(model, alpha=alpha)
    gw.set_step(disturbed(model), 3, 10)
    model.save_pretrained(tmp_path)
    again = gw.load_patched(tmp_path)
    assert torch.equal(logits(again), logits(model))
    gw.set_step(again, 7, 10)
    gw.set_step(model, 7, 10)
    assert torch.equal(logits(again), logits(model))
    if alpha == "input_projection":
        assert all(math.isnan(value) for value in alphas(again).values())  # nothing was seen in training yet
    if isinstance(alpha, dict) and alpha.get("per") == "model":
        assert len(alpha_parameters(again)) == len(alpha_parameters(model)) == 1


def test_weights_in_several_files(tmp_path: Path) -> None:
    model = gpt2()
    gw.patch(model, alpha=0.5)
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert torch.equal(logits(gw.load_patched(tmp_path)), logits(model))


def test_transformers_alone_opens_the_trained_model(tmp_path: Path) -> None:
    model = llama()
    trained = logits(model)
    gw.patch(model, alpha=0.5)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), trained)


def test_folders_that_hold_no_patched_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no saved model: it has no config\.json"):
        gw.load_patched(tmp_path)
    model = gpt2()
    model.save_pretrained(tmp_path / "plain")
    with pytest.raises(UserError, match="is not patched: its config has no gatewright_patch"):
        gw.load_patched(tmp_path / "plain")
    gw.patch(model, alpha=AT_ZERO)
    model.save_pretrained(tmp_path / "patched")
    file = tmp_path / "patched" / "model.safetensors"
    tensors = load_file(file)
    name = "transformer.h.1.mlp.act.gate.alpha.raw"
    for changed, message in (
        ({k: v for k, v in tensors.items() if k != name}, f"patched lacks {name}"),
        ({k: v for k, v in tensors.items() if ".act." not in k}, r"patched lacks transformer\.h\.0\.mlp\.act\.gate"),
        (
            {**tensors, "transformer.h.1.mlp.act.extra": torch.zeros(3)},
            r"no place in its record, transformer\.h\.1\.mlp\.act\.extra",
        ),
    ):
        save_file(changed, file, metadata={"format": "pt"})
        with pytest.raises(UserError, match=message):
            gw.load_patched(tmp_path / "patched")
    config = json.loads((tmp_path / "patched" / "config.json").read_text())
    config["gatewright_patch"] = {"gate": "paglu"}
    (tmp_path / "patched" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="was not written by this version of gatewright"):
        gw.load_patched(tmp_path / "patched")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_patched_for_itself(copied: Any) -> None:
    model = gpt2()
    trained = logits(model)
    gw.patch(model, alpha=0.5)
    other = copied(model)
    assert torch.equal(logits(other), logits(model))
    gw.unpatch(other)
    assert torch.equal(logits(other), trained)
    assert not torch.equal(logits(model), trained)
    gw.unpatch(model)
    assert torch.equal(logits(model), trained)


def test_a_frozen_model_computes_the_same_bits(tmp_path: Path) -> None:
    for build in (gpt2, llama):
        for dtype in (torch.float32, torch.bfloat16):
            model = build(dtype, **({"n_layer": 5} if build is gpt2 else {"num_hidden_layers": 5}))
            per_channel = {"name": "learnable", "per": "channel", "start": 0.3}
            gw.patch(model, alpha=[0.0, "learnable_0.3", "scheduler_linear", per_channel, "input_projection"])
            gw.set_step(disturbed(model), 4, 10)
            expected, before = logits(model), alphas(model)
            result = gw.freeze_alpha(model)
            assert torch.equal(logits(model), expected)
            paths = list(before)
            assert result.restored == paths[:1]
            assert result.constant == paths[1:4]
            assert result.input_dependent == paths[4:]
            assert "gate removed     1" in str(result)
            assert list(alphas(model).values())[:3] == pytest.approx(list(before.values())[1:4])
            learned = list(alpha_parameters(model))
            assert learned
            assert all("projection" in name for name in learned)
            folder = tmp_path / f"{build.__name__}-{dtype}"
            model.save_pretrained(folder)
            again = gw.load_patched(folder, dtype=dtype)
            assert torch.equal(logits(again), expected)
            gw.set_step(again, 10, 10)
            assert torch.equal(logits(again), expected)  # it was scheduled once


def test_freezing_takes_needless_gates_out(tmp_path: Path) -> None:
    for build, kind in ((gpt2, GPT2LMHeadModel), (llama, LlamaForCausalLM)):
        model = build()
        trained, shown = logits(model), str(model)
        gw.patch(model, alpha=AT_ZERO)
        assert len(gw.freeze_alpha(model).restored) == 2
        assert type(model) is kind
        assert str(model) == shown
        assert not hasattr(model.config, "gatewright_patch")
        assert torch.equal(logits(model), trained)
        with pytest.raises(UserError, match="is not patched: it has no α to freeze"):
            gw.freeze_alpha(model)
    model = llama()
    trained = logits(model)
    gw.patch(model, form="gate", alpha=1.0)
    gw.freeze_alpha(model)
    assert torch.equal(logits(model), trained)

    model = gpt2(n_layer=3)
    gw.patch(model, form="gate", alpha=[0.0, 0.5, 0.0], preserve=False)
    expected, parameters = logits(model), sum(p.numel() for p in model.parameters())
    result = gw.freeze_alpha(model)
    assert result.linear == ["transformer.h.0.mlp", "transformer.h.2.mlp"]
    assert torch.equal(logits(model), expected)
    assert sum(p.numel() for p in model.parameters()) == parameters - 2 * 17 * 64
    assert isinstance(model.transformer.h[0].mlp.act, nn.Identity)
    model.save_pretrained(tmp_path / "linear")
    assert torch.equal(logits(gw.load_patched(tmp_path / "linear")), expected)
    model = gpt2()
    gw.patch(model, form="gate", alpha=0.0, preserve=False)
    expected = logits(model)
    gw.freeze_alpha(model)
    model.save_pretrained(tmp_path / "all linear")
    assert torch.equal(logits(gw.load_patched(tmp_path / "all linear")), expected)


def test_freezing_one_alpha_for_all(tmp_path: Path) -> None:
    model = gpt2()
    gw.patch(model, alpha={"name": "learnable", "per": "model", "start": 0.3})
    expected = logits(model)
    assert len(gw.freeze_alpha(model).constant) == 2
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(gw.load_patched(tmp_path)), expected)
    gw.unpatch(model)
    assert model(ids(1, 4)).logits.isfinite().all()
