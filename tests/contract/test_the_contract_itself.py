"""The contract finds what it is there to find: parts that are broken in one way each, and the line that says so."""

from __future__ import annotations

import copy

import pytest
import torch
from broken_parts import (
    Casting,
    Clinging,
    Coarse,
    Dividing,
    Exploding,
    FixedWidth,
    Forgetful,
    Hidden,
    InPlace,
    Noisy,
    OtherThanItsReference,
    Random,
    Scale,
    Squeezing,
    Undocumented,
    Unnamed,
    Untyped,
    WrongCount,
    WrongDefault,
    WrongGradient,
)
from torch import Tensor, nn

from gatewright import registry
from gatewright.contract import MODEL, BrokenLineError, Case, cases, lines, model_cases, verify
from gatewright.contract.line import Line, UncheckedError
from gatewright.errors import UserError
from gatewright.parts.attention.base import Attention
from gatewright.parts.attention.manual import attend_plainly
from gatewright.parts.feedforward.base import FeedForward
from gatewright.parts.gates.base import Gate
from gatewright.parts.inits.fan_in import FanInInit
from gatewright.parts.norms.base import Norm
from gatewright.parts.part import Cost, Dims, linear_cost
from gatewright.registry import register


@pytest.fixture(autouse=True)
def scratch_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    registry.entries("norm")  # everything of the package is there before the copy is made
    monkeypatch.setattr(registry, "_entries", copy.deepcopy(registry._entries))
    monkeypatch.setattr(registry, "_aliases", copy.deepcopy(registry._aliases))


def broken_lines(kind: str, target: type) -> set[str]:
    """The quick lines that the first case of ``target`` breaks."""
    register(kind, target.__name__)(target)
    case = next(iter(cases(registry.find(kind, target.__name__))))
    found = set()
    for line in lines(kind):
        if not line.slow:
            try:
                line(case)
            except BrokenLineError:
                found.add(line.name)
    return found


def test_a_sound_part_breaks_nothing() -> None:
    assert broken_lines("activation", Scale) == set()


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (WrongCount, "cost"),
        (Undocumented, "documented"),
        (Unnamed, "documented"),
        (Untyped, "typed knobs"),
        (WrongDefault, "typed knobs"),
        (Casting, "shapes"),
        (Squeezing, "shapes"),
        (InPlace, "shapes"),
        (WrongGradient, "differentiable"),
        (Exploding, "stable"),
        (Dividing, "stable"),
        (Forgetful, "starting values"),
        (Random, "no hidden randomness"),
        (Noisy, "modes"),
        (Hidden, "saved"),
        (Clinging, "copied"),
        (Coarse, "half precision"),
        (OtherThanItsReference, "reference"),
        (FixedWidth, "dimensions"),
    ],
)
def test_the_line_that_is_broken_says_so(target: type, line: str) -> None:
    assert line in broken_lines("activation", target)


def test_a_deterministic_fault_breaks_its_own_line_alone() -> None:
    assert broken_lines("activation", WrongCount) == {"cost"}
    assert broken_lines("activation", WrongGradient) == {"differentiable"}
    assert broken_lines("activation", Unnamed) == {"documented"}


class UncountedProduct(FeedForward):
    """A linear layer whose products are not stated."""

    label = "Linear"

    def __init__(self, dims: Dims, *, hidden: int) -> None:
        super().__init__()
        self.layer = nn.Linear(dims.n_embd, dims.n_embd, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def cost(self, tokens: int) -> Cost:
        return Cost(linear_cost(self.layer, tokens).parameters)


def test_flops_that_are_not_stated_and_biases_that_are_not_wanted() -> None:
    assert broken_lines("feedforward", UncountedProduct) == {"cost", "dimensions"}


class GraphBreaking(Scale):
    """Looks at a value, which a single graph cannot."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum().item() != 1.5 else x


def line_of(kind: str, name: str) -> Line:
    return next(line for line in lines(kind) if line.name == name)


def test_a_part_that_is_not_one_graph() -> None:
    register("activation", "under_test")(GraphBreaking)
    with pytest.raises(BrokenLineError, match="activation 'under_test' breaks the line 'compiled'"):
        line_of("activation", "compiled")(Case(registry.find("activation", "under_test")))


def test_a_length_that_is_baked_into_an_export() -> None:
    class FiveTokens(Scale):
        """Five tokens: whatever is exported knows no other length."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.arange(5.0)[:, None]

    register("activation", "under_test")(FiveTokens)
    with pytest.raises(BrokenLineError, match="breaks the line 'onnx'"):
        line_of("activation", "onnx")(Case(registry.find("activation", "under_test")))


def broken_model_lines(kind: str, target: type) -> set[str]:
    register(kind, "under_test")(target)
    case = next(iter(model_cases(registry.find(kind, "under_test"))))
    found = set()
    for line in lines(MODEL):
        try:
            line(case)
        except BrokenLineError:
            found.add(line.name)
    return found


class Peeking(Norm):
    """Subtracts the mean over the sequence, future included."""

    label = "Peeking"

    def __init__(self, dims: Dims) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)

    def cost(self, tokens: int) -> Cost:
        return Cost()


def test_a_part_that_sees_the_future() -> None:
    assert {"causal", "cached", "padded"} <= broken_model_lines("norm", Peeking)


class Deaf(Gate):
    """A gate that does not listen to its gate stream."""

    label = "Deaf"

    def forward(self, value: Tensor, gate: Tensor, x: Tensor) -> Tensor:
        return value.tanh()


def test_a_parameter_without_a_gradient() -> None:
    assert broken_model_lines("gate", Deaf) == {"trainable"}


class BlindToPadding(Attention):
    """Attention that forgets the mask where one is given."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        later = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril(k.shape[-2] - q.shape[-2])
        return attend_plainly(q, k, v, later)


def test_an_attention_that_looks_at_padding() -> None:
    assert broken_model_lines("attention", BlindToPadding) == {"padded", "documents"}


def test_a_wrong_kernel_that_ignores_the_cache() -> None:
    class Amnesiac(Attention):
        """Attention to this call's tokens alone."""

        def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
            fresh = q.shape[-2]
            return attend_plainly(q, k[..., -fresh:, :], v[..., -fresh:, :], None)

    assert "cached" in broken_model_lines("attention", Amnesiac)


class Nothing(FanInInit):
    """Deviations that are not numbers."""

    def linear_std(self, layer: nn.Linear, residual: bool) -> float:
        return float("nan")


class WiderResiduals(FanInInit):
    """Residual outputs wider than the rest."""

    def linear_std(self, layer: nn.Linear, residual: bool) -> float:
        return 2.0 if residual else 1.0


@pytest.mark.parametrize("target", [Nothing, WiderResiduals])
def test_an_initialisation_without_sense(target: type) -> None:
    register("init", "under_test")(target)
    with pytest.raises(BrokenLineError, match="init 'under_test' breaks the line 'deviations'"):
        line_of("init", "deviations")(Case(registry.find("init", "under_test")))


def test_cases_are_the_defaults_the_words_and_the_settings() -> None:
    knobs = [dict(case.knobs) for case in cases(registry.find("alpha", "input"))]
    assert knobs == [{}, {"measure": "entropy"}, {"measure": "confidence"}, {"start": 0.25}]
    assert [dict(case.knobs) for case in cases(registry.find("norm", "rmsnorm"))] == [{}]
    forms = [case.knobs.get("form") for case in cases(registry.find("gate", "pagelu"))]
    assert {"gate", "blend", "skip", "preserve", "self_gate"} <= set(forms)


def test_a_message_names_part_setting_line_and_reason() -> None:
    register("activation", "under_test")(WrongCount)
    with pytest.raises(BrokenLineError) as broken:
        line_of("activation", "cost")(Case(registry.find("activation", "under_test"), {"start": 3.0}))
    assert str(broken.value) == (
        "activation 'under_test' with start=3.0 breaks the line 'cost' (`cost` states the parameters there are and the "
        "FLOPs that FlopCounterMode counts, at any length.): states 0 parameters, has 1"
    )


def test_verify_goes_through_all_lines_and_says_what_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    register("activation", "under_test")(WrongCount)
    unavailable = Line("needs more", _needs_more, frozenset({"activation"}))
    quick = [line for line in registry_lines() if not line.slow]
    monkeypatch.setattr("gatewright.contract.line._lines", [*quick, unavailable])
    verdicts = {(v.line.name, "model" in v.line.kinds): v for v in verify(registry.find("activation", "under_test"))}
    assert set(verdicts) == {(x.name, False) for x in lines("activation")} | {(x.name, True) for x in lines(MODEL)}
    broken = {key for key, verdict in verdicts.items() if verdict.error is not None}
    assert broken == {("cost", False), ("cost", True)}
    assert verdicts["needs more", False].unchecked == "the package is not there"
    assert all(verdict.cases >= 1 and verdict.seconds >= 0 for verdict in verdicts.values())


def registry_lines() -> list[Line]:
    return list({id(line): line for kind in (*registry.KINDS, MODEL) for line in lines(kind)}.values())


def _needs_more(case: Case) -> None:
    raise UncheckedError("the package is not there")


def test_every_line_says_what_it_promises() -> None:
    for line in registry_lines():
        assert line.about.endswith("."), line.name
        assert len(line.about) > 20


def test_lines_of_an_unknown_kind() -> None:
    with pytest.raises(UserError, match="unknown kind of part 'nrom'; did you mean 'norm'"):
        lines("nrom")
