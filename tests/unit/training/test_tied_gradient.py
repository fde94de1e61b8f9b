"""The two gradients of a tied embedding are joined without a matrix of zeros, and their sum stays what it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from gatewright.hardware.compiler import cpp_compiler
from gatewright.model.linear_cross_entropy import linear_cross_entropy
from gatewright.training import tied_gradient
from gatewright.training.compilation import compiled

V, D, N = 50, 8, 12


class Tied(nn.Module):
    """A model that is nothing but an embedding and the head tied to it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, D)

    def forward(self, ids: Tensor) -> Tensor:
        return linear_cross_entropy(self.embedding(ids).tanh(), self.embedding.weight, None, ids.roll(1))


@pytest.mark.skipif(cpp_compiler() is None, reason="compiling for a CPU needs a C++ compiler")
def test_a_compiled_step_joins_them(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = []
    join = tied_gradient.join
    monkeypatch.setattr(tied_gradient, "join", lambda graph: joined.append(join(graph)))
    torch.manual_seed(0)
    model, ids = Tied(), torch.randint(10, (N,))  # some tokens more than once
    (expected,) = torch.autograd.grad(model(ids), model.embedding.weight)
    with torch._inductor.config.patch(force_disable_caches=True):
        compiled(model, True, torch.device("cpu"))(ids).backward()
    assert sum(joined) == 1
    torch.testing.assert_close(model.embedding.weight.grad, expected)


def put(shape: tuple[int, ...], fill: float, values: Tensor, rows: Tensor) -> Tensor:
    into = torch.ops.aten.full.default(shape, fill, dtype=torch.float32)
    mask = torch.ones(N, 1, dtype=torch.bool)
    return torch.ops.aten._unsafe_masked_index_put_accumulate.default(into, mask, [rows], values)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("what", "times"),
    [
        (lambda dense, put: dense + put, 1),
        (lambda dense, put: put + dense, 1),
        (lambda dense, put: torch.add(dense, put, alpha=2), 0),
        (lambda dense, put: (dense + put) * put, 0),
        (lambda dense, put: dense[:1] + put, 0),  # broadcast
        (lambda dense, put: dense.double() + put, 0),
        (lambda dense, put: put + 1, 0),
    ],
)
def test_only_a_sum_of_like_with_rows_put_into_zeros_is_rewritten(what: Any, times: int) -> None:
    dense, values, rows = torch.randn(V, D), torch.randn(N, D), torch.randint(10, (N,))
    graph = make_fx(lambda d, v, r: what(d, put((V, D), 0, v, r)), tracing_mode="fake")(dense, values, rows)
    expected = graph(dense, values, rows)
    assert tied_gradient.join(graph.graph) == times
    graph.recompile()
    torch.testing.assert_close(graph(dense, values, rows), expected)
    assert bool(graph.graph.find_nodes(op="call_function", target=torch.ops.aten.full.default)) == (times == 0)


def test_rows_put_into_anything_else_stay() -> None:
    dense, values, rows = torch.randn(V, D), torch.randn(N, D), torch.randint(10, (N,))
    graph = make_fx(lambda d, v, r: d + put((V, D), 1, v, r), tracing_mode="fake")(dense, values, rows)
    assert tied_gradient.join(graph.graph) == 0
