"""What surgery refuses: one clear line, and a model that is what it was."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from surgery_models import SUBJECTS, Subject, assert_untouched, gpt2, ids, llama, logits, refusals, state_of
from torch import nn
from transformers import BloomConfig, BloomForCausalLM

import gatewright as gw
from gatewright.errors import RunError, UserError
from gatewright.surgery import Layout

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"gate": "paglue"}, "unknown gate 'paglue'; did you mean 'paglu'?"),
        ({"gate": "swiglu"}, "gate 'swiglu' has no alpha"),
        ({"gate": {"name": "paglu", "gate_nrom": "before"}}, "did you mean 'gate 'paglu'.gate_norm'?"),
        ({"gate": {"name": "paglu", "alpha": 0.5}}, "gate.alpha=0.5: say alpha= to patch"),
        ({"gate": {"name": "paglu", "form": "gate"}}, "gate.form='gate': say form= to patch"),
        ({"gate": 3}, "gate=3: expected a name or a mapping with 'name'"),
        ({"form": "preserv"}, "unknown gate form 'preserv'; did you mean 'preserve'?"),
        ({"form": "gate"}, "form 'gate' cannot preserve a trained plain block"),
        ({"form": "skip"}, "form 'skip' mixes with its input: width 64 must be 16"),
        ({"form": "skip", "preserve": False}, "form 'skip' mixes with its input: width 64 must be 16"),
        ({"form": "self_gate"}, "form 'self_gate' cannot preserve a trained plain block"),
        ({"alpha": 1.5}, "alpha.value=1.5: α must be in [0, 1]"),
        ({"alpha": -1e-9}, "α must be in [0, 1]"),
        ({"alpha": NAN}, "value=nan: must be a finite number"),
        ({"alpha": INF}, "value=inf: must be a finite number"),
        ({"alpha": [0.5, NAN]}, "value=nan: must be a finite number"),
        ({"alpha": "learnable_0"}, "alpha.start=0 has no gradient under alpha.range=sigmoid; use alpha.range=clamp"),
        ({"alpha": "lernable"}, "unknown alpha 'lernable'; did you mean 'learnable'?"),
        ({"alpha": "static_2"}, "α must be in [0, 1]"),
        ({"alpha": None}, "alpha=None: expected a number"),
        ({"alpha": True}, "alpha=True: expected a number"),
        ({"alpha": torch.tensor(0.5)}, "expected a number"),
        ({"alpha": [0.5]}, "alpha has 1 entries for 2 feed-forward blocks"),
        ({"alpha": [0.1, 0.2], "layers": [1]}, "alpha has 2 entries for 1 feed-forward blocks"),
        ({"alpha": [0.1, {"name": "learnable", "per": "model"}]}, "per=model is one α for all blocks"),
        ({"layers": [2]}, "layers: no block 2; the model's 2 are numbered from 0"),
        ({"layers": [-1]}, "layers: no block -1"),
        ({"layers": [0.0]}, "layers: no block 0.0"),
        ({"layers": [True]}, "layers: no block True"),
        ({"layers": []}, "layers=[]: expected a list of block numbers"),
        ({"layers": "0"}, "layers='0': expected a list of block numbers"),
        ({"layers": 1}, "layers=1: expected a list of block numbers"),
        ({"layers": [1, 1]}, "a block is named twice"),
        ({"layers": lambda path: False}, "the function says no to all blocks, such as transformer.h.0.mlp"),
        ({"path": "model.layers.*.mlp"}, "path='model.layers.*.mlp' matches no module of GPT2LMHeadModel"),
        ({"path": "transformer.h.*.mpl"}, "did you mean 'transformer.h.*.mlp'?"),
        ({"path": "transformer.h.*.ln_1"}, "transformer.h.0.ln_1 (LayerNorm) is not laid out like a known"),
        ({"layout": Layout("c_fc", "act", "c_proj")}, "layout is for modules named by path="),
        ({"path": "transformer.h.*.mlp", "layout": {"into": "c_fc"}}, "layout.activation is missing"),
        ({"path": "transformer.h.*.mlp", "layout": {"int": "c_fc"}}, "did you mean 'layout.into'?"),
        (
            {"path": "transformer.h.*.mlp", "layout": Layout("c_fc", "activation", "c_proj")},
            "transformer.h.0.mlp (GPT2MLP) has no activation=activation",
        ),
        (
            {"path": "transformer.h.*.mlp", "layout": Layout("dropout", "act", "c_proj")},
            "transformer.h.0.mlp (GPT2MLP) has no into=dropout",
        ),
        (
            {"path": "transformer.h.*.mlp", "layout": Layout("c_fc", "act", "c_proj", value="c_proj")},
            "into=c_fc and value=c_proj differ in size: (16, 64) and (64, 16)",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",  # not what was asked: a function has no stable name
)
def test_nothing_is_touched_by_what_is_refused(asked: dict[str, Any], said: str) -> None:
    model = gpt2()
    assert said in refusals(model, lambda: gw.patch(model, **asked))
    assert gw.patch(model).modules  # and it can still be patched


def test_a_gated_block_has_no_place_for_its_input() -> None:
    model = llama()
    for preserve in (True, False):
        said = refusals(model, lambda preserve=preserve: gw.patch(model, form="skip", preserve=preserve))
        assert said.startswith("form 'skip'")
    narrow = llama(intermediate_size=16)
    said = refusals(narrow, lambda: gw.patch(narrow, form="skip", preserve=False))
    assert said == "form 'skip' has no place in a gated block, such as model.layers.0.mlp"
    said = refusals(model, lambda: gw.patch(model, {"name": "paglu", "gate_norm": "after"}, form="gate"))
    assert "cannot preserve a trained gated block" in said
    square = gpt2(n_inner=16)
    said = refusals(square, lambda: gw.patch(square, form="skip"))
    assert "form 'skip' cannot preserve a trained plain block" in said


def test_an_unknown_family_names_the_known_ones_and_the_way_out() -> None:
    model = BloomForCausalLM(BloomConfig(n_layer=1, n_head=2, hidden_size=16, vocab_size=99))
    said = refusals(model, lambda: gw.patch(model))
    assert said.startswith("BloomForCausalLM has no feed-forward block of a known family (gpt2, ")
    assert "path=" in said
    layout = Layout("dense_h_to_4h", "gelu_impl", "dense_4h_to_h")
    trained = logits(model.eval())
    gw.patch(model, path="transformer.h.*.mlp", layout=layout)
    assert torch.equal(logits(model), trained)
    linear = nn.Linear(3, 3)
    assert "Linear has no feed-forward block" in refusals(linear, lambda: gw.patch(linear))


@pytest.mark.parametrize("name", SUBJECTS)
def test_twice_is_an_error_and_so_is_taking_out_nothing(name: str) -> None:
    subject: Subject = SUBJECTS[name]
    model = subject.build()
    assert f"this {subject.kind} is not patched" in refusals(model, lambda: gw.unpatch(model))
    first = gw.patch(model, layers=[1]).modules[0]
    gated = logits(model, subject.inputs())
    for again in ({}, {"layers": [0]}, {"form": "blend"}):
        said = refusals(model, lambda again=again: gw.patch(model, **again))
        assert said.startswith(f"the model is patched already, at {first}")
    assert torch.equal(logits(model, subject.inputs()), gated)
    gw.unpatch(model)
    refusals(model, lambda: gw.unpatch(model))


class WithAMethod(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(4, 8), nn.Linear(8, 4)

    def act(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.act(self.into(x)))


def test_an_activation_that_a_gate_could_not_replace() -> None:
    model = nn.Sequential(WithAMethod())
    layout = Layout("into", "act", "out")
    said = refusals(model, lambda: gw.patch(model, path="0", layout=layout))
    assert said == "0: the activation 'act' is a method of WithAMethod, not an attribute"

    fused = llama()
    block = fused.model.layers[1].mlp

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:  # as Liger binds it to each block
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))

    block.forward = forward.__get__(block)
    said = refusals(fused, lambda: gw.patch(fused))
    assert said == "model.layers.1.mlp: 'act_fn' takes no part in forward, perhaps because of a fused kernel"


def test_what_is_no_model() -> None:
    with pytest.raises(UserError, match="patch takes a model, as from_pretrained gives it, not 'gpt2'"):
        gw.patch("gpt2")  # type: ignore[arg-type]


def test_a_failure_half_way_leaves_no_gate_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory runs out while the second gate is given its own."""
    model = gpt2()
    before = state_of(model)
    calls = []

    def to_empty(self: nn.Module, **options: Any) -> nn.Module:
        calls.append(self)
        if len(calls) == 2:
            raise MemoryError("no more")
        return original(self, **options)

    original = nn.Module.to_empty
    monkeypatch.setattr(nn.Module, "to_empty", to_empty)
    with pytest.raises(MemoryError):
        gw.patch(model)
    assert_untouched(model, before)


def test_a_gate_whose_projection_is_passed_over_says_so() -> None:
    model = gpt2()
    gw.patch(model)
    with pytest.raises(RunError, match=re.escape("the gate at transformer.h.0.mlp.act saw no input")):
        model.transformer.h[0].mlp.act(torch.zeros(1, 64))
    assert model(ids(1, 4)).logits.isfinite().all()
