"""What a compiled step computes in another way is the same function."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatewright as gw
from gatewright.parts.attention import blocks
from gatewright.parts.attention.manual import attend_plainly
from gatewright.parts.together import linear_together


def close(ours: Tensor, theirs: Tensor, inputs: list[Tensor]) -> None:
    """The values agree, and their gradients by ``inputs`` in a random direction."""
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    direction = torch.randn(ours.shape, dtype=ours.dtype, generator=torch.Generator().manual_seed(1))
    pairs = zip(*(torch.autograd.grad(each, inputs, direction) for each in (ours, theirs)), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("tokens", "kv_heads"), [(3, 4), (5, 4), (10, 2), (13, 1)])
def test_attention_in_blocks_is_the_formula(monkeypatch: pytest.MonkeyPatch, tokens: int, kv_heads: int) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 5)  # less than a block, one, two, two and a half
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(2, heads, tokens, 6, dtype=torch.float64, generator=generator).requires_grad_()
        for heads in (4, kv_heads, kv_heads)
    ]
    close(blocks.attend_in_blocks(*inputs), attend_plainly(*inputs, None), inputs)


@pytest.mark.parametrize("bias", [True, False])
def test_layers_together_are_the_layers_apart(bias: bool) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(6, width, bias=bias).double() for width in (4, 3, 5)]
    x = torch.randn(2, 7, 6, dtype=torch.float64, requires_grad=True)
    products: list[Any] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        products.extend(node for node in graph.graph.nodes if node.target is torch._C._nn.linear)
        return graph.forward

    together: Any = torch.compile(lambda y: linear_together(y, *layers), backend=backend, fullgraph=True)
    learned = [x, *(p for layer in layers for p in layer.parameters())]
    close(torch.cat(together(x), -1), torch.cat([layer(x) for layer in layers], -1), learned)
    assert len(products) == 1


def test_a_layer_with_a_hook_is_called() -> None:
    layers = [nn.Linear(6, 4), nn.Linear(6, 4)]
    layers[1].register_forward_hook(lambda module, inputs, output: output + 1)
    x = torch.randn(3, 6)
    found: Any = torch.compile(lambda y: linear_together(y, *layers), backend="eager", fullgraph=True)(x)
    torch.testing.assert_close(torch.stack(found), torch.stack([layer(x) for layer in layers]))


@pytest.mark.parametrize("preset", ["gpt2", "llama", "qwen3"])
def test_a_compiled_model_is_the_model(preset: str) -> None:
    sizes = ["n_layer=2", "n_embd=32", "n_head=4", "kv_heads=2", "vocab_size=17", "block_size=160"]
    options = [f"model.{size}" for size in sizes if preset != "gpt2" or not size.startswith("kv")]
    model = gw.build(gw.load_config([f"model={preset}", *options]).model)
    ids = torch.randint(17, (2, 160), generator=torch.Generator().manual_seed(0))
    compiled: Any = torch.compile(model, dynamic=False, backend="aot_eager")
    ours, theirs = (f(ids, labels=ids).loss for f in (compiled, model))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    parameters = list(model.parameters())
    pairs = zip(*(torch.autograd.grad(loss, parameters) for loss in (ours, theirs)), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
