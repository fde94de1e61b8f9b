"""The α-gated GRU: PyTorch's GRU at α = 1, a tanh RNN at α = 0, and what lies between."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from gatewright.errors import UserError
from gatewright.parts.alpha.parse import make_alpha
from gatewright.parts.gates.recurrent import PaGRU, PaGRUCell
from gatewright.parts.part import Dims

D, H, N, T = 5, 7, 3, 6

OPTIONS = ("num_layers", "bias", "batch_first", "bidirectional")
LAYOUTS: list[dict[str, Any]] = [
    {},
    {"num_layers": 3},
    {"bidirectional": True},
    {"batch_first": True},
    {"bias": False},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def like(reference: nn.GRU, alpha: Any) -> PaGRU:
    """The PaGRU with the weights of ``reference``."""
    options = {name: getattr(reference, name) for name in (*OPTIONS, "dropout")}
    gru = PaGRU(D, H, **options, alpha=alpha).double()
    missing, unexpected = gru.load_state_dict(reference.state_dict(), strict=False)
    assert all(key.startswith("alphas.") for key in missing)
    assert not unexpected
    return gru


def plain_rnn(gru: nn.GRU) -> nn.RNN:
    """The tanh RNN on the GRU's n-weights."""
    options = {name: getattr(gru, name) for name in OPTIONS}
    rnn = nn.RNN(D, H, **options).double()
    rnn.load_state_dict({name: weight[2 * H :] for name, weight in gru.state_dict().items()})
    return rnn


def make_gru(**layout: Any) -> nn.GRU:
    torch.manual_seed(0)
    return nn.GRU(D, H, **layout).double()


def inputs(layout: dict[str, Any]) -> tuple[Tensor, Tensor]:
    states = layout.get("num_layers", 1) * (2 if layout.get("bidirectional") else 1)
    return draw(*((N, T, D) if layout.get("batch_first") else (T, N, D))), draw(states, N, H, seed=1)


def assert_same(ours: tuple[Any, Tensor], reference: tuple[Any, Tensor]) -> None:
    for mine, theirs in zip(ours, reference, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_is_the_gru_at_one(layout: dict[str, Any]) -> None:
    reference = make_gru(**layout)
    gru = like(reference, 1.0)
    x, h = inputs(layout)
    assert_same(gru(x), reference(x))
    assert_same(gru(x, h), reference(x, h))
    gru(x, h)[0].square().sum().backward()
    reference(x, h)[0].square().sum().backward()
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(gru.get_parameter(name).grad, parameter.grad, rtol=0, atol=1e-11)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_is_a_plain_rnn_at_zero(layout: dict[str, Any]) -> None:
    reference = make_gru(**layout)
    x, h = inputs(layout)
    assert_same(like(reference, 0.0)(x, h), plain_rnn(reference)(x, h))


@pytest.mark.parametrize("alpha", [0.0, 0.375, 1.0])
def test_a_step_blends_the_two(alpha: float) -> None:
    reference = make_gru()
    x, h = draw(1, N, D), draw(1, N, H, seed=1)
    blended = alpha * reference(x, h)[1] + (1 - alpha) * plain_rnn(reference)(x, h)[1]
    torch.testing.assert_close(like(reference, alpha)(x, h)[1], blended, rtol=0, atol=1e-12)
    cell = PaGRUCell(D, H, alpha=alpha).double()
    weights = {name.removesuffix("_l0"): weight for name, weight in reference.state_dict().items()}
    assert cell.load_state_dict(weights, strict=False).unexpected_keys == []
    torch.testing.assert_close(cell(x[0], h[0]), blended[0], rtol=0, atol=1e-12)


def test_the_cell_is_the_gru_cell_at_one() -> None:
    for bias in (True, False):
        reference = nn.GRUCell(D, H, bias).double()
        cell = PaGRUCell(D, H, bias, alpha=1.0).double()
        cell.load_state_dict(reference.state_dict(), strict=False)
        x, h = draw(N, D), draw(N, H, seed=1)
        for args in ((x, h), (x,), (x[0], h[0]), (x[0],)):
            torch.testing.assert_close(cell(*args), reference(*args), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_packed_sequences(bidirectional: bool, enforce_sorted: bool) -> None:
    reference = make_gru(num_layers=2, bidirectional=bidirectional)
    lengths = [6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4]
    packed = pack_sequence([draw(n, D, seed=n) for n in lengths], enforce_sorted)
    h = draw(4 if bidirectional else 2, 4, H, seed=1)
    for args in ((packed,), (packed, h)):
        (ours, our_h), (theirs, their_h) = like(reference, 1.0)(*args), reference(*args)
        assert_same((pad_packed_sequence(ours)[0], our_h), (pad_packed_sequence(theirs)[0], their_h))
    (ours, our_h), (theirs, their_h) = like(reference, 0.0)(packed, h), plain_rnn(reference)(packed, h)
    assert_same((pad_packed_sequence(ours)[0], our_h), (pad_packed_sequence(theirs)[0], their_h))


def test_padding_does_not_reach_a_packed_sequence() -> None:
    gru = PaGRU(D, H, bidirectional=True, alpha="input_projection").double()
    x = draw(T, 2, D)
    packed, _ = gru(pack_padded_sequence(x, [T, 3]))
    torch.testing.assert_close(pad_packed_sequence(packed)[0][:3, 1], gru(x[:3, 1])[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
def test_without_a_batch(batch_first: bool) -> None:
    reference = make_gru(num_layers=2, bidirectional=True, batch_first=batch_first)
    x, h = draw(T, D), draw(4, H, seed=1)
    gru = like(reference, 1.0)
    assert_same(gru(x), reference(x))
    assert_same(gru(x, h), reference(x, h))


def test_dropout_between_layers_only() -> None:
    reference = make_gru(num_layers=2, dropout=1.0)
    x = draw(T, N, D)
    # with everything dropped the second layer sees zeros, and the first and the output nothing of it
    assert_same(like(reference, 1.0)(x), reference(x))
    assert_same(like(reference, 1.0).eval()(x), reference.eval()(x))


@pytest.mark.parametrize("alpha", ["learnable_0.3", {"name": "learnable", "start": 0.3, "per": "channel"}])
def test_gradients_reach_alpha(alpha: Any) -> None:
    gru = PaGRU(D, H, num_layers=2, bidirectional=True, alpha=alpha).double()
    assert list(gru.alphas) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    gru(draw(T, N, D))[0].square().sum().backward()
    for module in gru.alphas.values():
        assert module.mean().item() == pytest.approx(0.3)
        assert module.raw.grad.abs().min() > 0
    cell = PaGRUCell(D, H, alpha=alpha).double()
    cell(draw(N, D), draw(N, H, seed=1)).square().sum().backward()
    assert cell.alpha.raw.grad.abs().min() > 0


@pytest.mark.parametrize("alpha", [0.4, "learnable", "input_projection"])
def test_gradcheck(alpha: Any) -> None:
    gru = PaGRU(2, 3, bidirectional=True, alpha=alpha).double()
    names, parameters = zip(*gru.named_parameters(), strict=True)

    def run(x: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.functional_call(gru, dict(zip(names, values, strict=True)), (x,))

    x = draw(3, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *parameters))


def test_alpha_of_the_input_differs_by_token() -> None:
    gru = PaGRU(D, H, alpha={"name": "input", "measure": "projection"}).double()
    nn.init.normal_(gru.alphas["l0"].projection.weight, generator=torch.Generator().manual_seed(2))
    x, h = draw(1, N, D), draw(1, N, H, seed=1)
    alpha = torch.sigmoid(x[0] @ gru.alphas["l0"].projection.weight.T)  # (N, 1)
    reference = make_gru()
    reference.load_state_dict({k: v for k, v in gru.state_dict().items() if not k.startswith("alphas.")})
    blended = alpha * reference(x, h)[1] + (1 - alpha) * plain_rnn(reference)(x, h)[1]
    torch.testing.assert_close(gru(x, h)[1], blended, rtol=0, atol=1e-12)


def test_scheduled_alpha_moves() -> None:
    reference = make_gru()
    gru = like(reference, "scheduler_linear")
    x = draw(T, N, D)
    assert_same(gru(x), plain_rnn(reference)(x))
    gru.alphas["l0"].set_step(10, 10)
    assert_same(gru(x), reference(x))
    assert gru.state_dict()["alphas.l0.value"] == 1


def test_an_alpha_that_exists_is_shared() -> None:
    alpha = make_alpha("learnable", Dims(D, width=H))
    gru = PaGRU(D, H, num_layers=2, alpha=alpha)
    assert gru.alphas["l0"] is gru.alphas["l1"] is alpha


def test_copies_and_dtypes() -> None:
    gru = PaGRU(D, H, dtype=torch.float64, alpha="learnable")
    assert {p.dtype for p in gru.parameters()} == {torch.float64}
    x = draw(T, N, D)
    assert_same(copy.deepcopy(gru)(x), gru(x))
    assert gru.bfloat16()(x.bfloat16())[0].dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(gru.float()(x.float())[0]).all()


@pytest.mark.parametrize("kind", [PaGRU, PaGRUCell])
def test_compiles_in_one_graph(kind: type[PaGRU] | type[PaGRUCell]) -> None:
    module = kind(D, H, alpha="learnable").double()
    x = draw(3, N, D) if kind is PaGRU else draw(N, D)
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), module(x))


def test_mistakes() -> None:
    with pytest.raises(UserError, match=r"must be in \[0, 1\]"):
        PaGRU(D, H, alpha=1.5)
    with pytest.raises(UserError, match="did you mean 'learnable'"):
        PaGRUCell(D, H, alpha="learnble")
    with pytest.raises(RuntimeError, match="input_size"):
        PaGRU(D, H)(torch.randn(T, N, D + 1))
    with pytest.raises(RuntimeError, match="hidden size"):
        PaGRU(D, H)(torch.randn(T, N, D), torch.randn(2, N, H))
