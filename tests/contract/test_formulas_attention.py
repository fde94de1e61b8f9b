"""Every registered attention beside the formula, computed pair by pair with NumPy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gatewright.parts.attention.base import Attention
from gatewright.parts.part import Dims
from gatewright.parts.positions.base import Places, Span
from gatewright.registry import create, entries

T = 7
KERNELS = list(entries("attention"))


def dims(kv_heads: int = 4, head_dim: int = 4) -> Dims:
    return Dims(n_embd=16, n_head=4, kv_heads=kv_heads, head_dim=head_dim, block_size=16, bias=True)


def tensors(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def attention_by_hand(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """``softmax(q·k / √d + bias)`` over the keys a query sees, one query at a time.

    q ``(B, H, T, d)``, k and v ``(B, kv_heads, S, d)``; seen ``(B, T, S)``, bias ``(H, T, S)``.
    """
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    group = q.shape[1] // k.shape[1]
    for b, h, t in np.ndindex(*q.shape[:3]):
        keys = [s for s in range(k.shape[2]) if seen[b, t, s]]
        scores = np.array([q[b, h, t] @ k[b, h // group, s] / math.sqrt(q.shape[-1]) + bias[h, t, s] for s in keys])
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        out[b, h, t] = sum(w * v[b, h // group, s] for w, s in zip(weights, keys, strict=True))
    return out


def seen_by_hand(
    tokens: int, *, start: int = 0, window: int | None = None, padded: tuple[int, ...] = (0, 0)
) -> np.ndarray:
    """Which keys each query sees: none after it, none out of the window, no padding (but itself)."""
    seen = np.zeros((len(padded), tokens, start + tokens), dtype=bool)
    for b, t, s in np.ndindex(*seen.shape):
        query = start + t
        in_window = window is None or query - s < window
        seen[b, t, s] = s <= query and in_window and (s >= padded[b] or s == query)
    return seen


def by_hand(part: Attention, x: Tensor, seen: np.ndarray, bias: np.ndarray | None = None) -> Tensor:
    """The whole block around `attention_by_hand`; neither rotation nor norms."""

    def split(projection: torch.nn.Linear, heads: int) -> np.ndarray:
        return projection(x).view(*x.shape[:2], heads, part.head_dim).permute(0, 2, 1, 3).detach().numpy()

    q, k, v = split(part.q_proj, 4), split(part.k_proj, part.kv_heads), split(part.v_proj, part.kv_heads)
    bias = np.zeros((4, x.shape[1], x.shape[1])) if bias is None else bias
    y = torch.from_numpy(attention_by_hand(q, k, v, seen, bias)).permute(0, 2, 1, 3)
    if part.gate_proj is not None:
        gate = torch.sigmoid(part.gate_proj(x))
        y = y * (gate[..., None] if gate.shape[-1] == 4 else gate.view(y.shape))
    return part.o_proj(y.reshape(*x.shape[:2], -1))


def make(name: str, dims: Dims, **knobs: object) -> Attention:
    torch.manual_seed(1)
    return create("attention", {"name": name, **knobs}, dims).double().eval()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=0)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_causal_with_grouped_queries(name: str, kv_heads: int) -> None:
    part, (x,) = make(name, dims(kv_heads)), tensors((2, T, 16))
    close(part(x, Span(torch.arange(T)[None]), Places()), by_hand(part, x, seen_by_hand(T)))


@pytest.mark.parametrize("name", KERNELS)
def test_heads_wider_than_the_model_divided_by_heads(name: str) -> None:
    part, (x,) = make(name, dims(2, head_dim=6)), tensors((2, T, 16))
    close(part(x, Span(torch.arange(T)[None]), Places()), by_hand(part, x, seen_by_hand(T)))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("window", [1, 3, 100])
def test_sliding_window(name: str, window: int) -> None:
    part, (x,) = make(name, dims(2), window=window), tensors((2, T, 16))
    close(part(x, Span(torch.arange(T)[None]), Places()), by_hand(part, x, seen_by_hand(T, window=window)))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("gate", ["head", "element"])
def test_output_gate(name: str, gate: str) -> None:
    part, (x,) = make(name, dims(2), output_gate=gate), tensors((2, T, 16))
    close(part(x, Span(torch.arange(T)[None]), Places()), by_hand(part, x, seen_by_hand(T)))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("window", [None, 2])
def test_left_padding(name: str, window: int | None) -> None:
    part, (x,) = make(name, dims(2), window=window), tensors((2, T, 16))
    mask = torch.arange(T)[None] >= torch.tensor([[0], [3]])
    positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
    found = part(x, Span(positions, key_mask=mask), Places())
    close(found, by_hand(part, x, seen_by_hand(T, window=window, padded=(0, 3))))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("padding", [0, 2])
def test_bias_on_the_scores(name: str, padding: int) -> None:
    part, (x, bias) = make(name, dims(2)), tensors((2, T, 16), (4, T, T))
    mask = torch.arange(T)[None] >= torch.tensor([[0], [padding]]) if padding else None
    span = Span(torch.arange(T)[None], key_mask=mask)
    found = part(x, span, Places(bias=bias))
    close(found, by_hand(part, x, seen_by_hand(T, padded=(0, padding)), bias.numpy()))


@pytest.mark.parametrize("name", KERNELS)
def test_queries_after_cached_keys(name: str) -> None:
    """The kernel alone: 3 queries that follow 4 cached keys."""
    part = make(name, dims(2))
    q, k, v = tensors((2, 4, 3, 4), (2, 2, T, 4), (2, 2, T, 4))
    span = Span(torch.arange(4, T)[None], start=4)
    found = part.attend(q, k, v, part._mask(span, Places(), torch.float64))
    expected = attention_by_hand(q.numpy(), k.numpy(), v.numpy(), seen_by_hand(3, start=4), np.zeros((4, 3, T)))
    close(found, torch.from_numpy(expected))


@pytest.mark.parametrize("name", KERNELS)
def test_queries_and_keys_are_normed_before_the_rotation(name: str) -> None:
    part, (x,) = make(name, dims(2), qk_norm="rmsnorm"), tensors((2, T, 16))
    with torch.no_grad():
        part.q_norm.weight.copy_(torch.linspace(0.5, 2, 4))
        part.k_norm.weight.copy_(torch.linspace(2, 0.5, 4))
    rope = create("position", "rope", dims(2))
    span = Span(torch.arange(T)[None])
    taken: list[Tensor] = []
    part.attend = lambda q, k, v, mask: (taken.extend((q, k)), q)[1]  # type: ignore[method-assign]
    part(x, span, rope(span))
    for found, projection, norm, n in (
        (taken[0], part.q_proj, part.q_norm, 4),
        (taken[1], part.k_proj, part.k_norm, 2),
    ):
        raw = projection(x).view(2, T, n, 4).transpose(1, 2)
        normed = raw / (raw.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight
        cos, sin = rope(span).rotation
        half = torch.cat((-normed[..., 2:], normed[..., :2]), dim=-1)
        close(found, normed * cos + half * sin)


def test_dropout_falls_on_attention_weights() -> None:
    """With one key the weight is 1: dropped out, a row is 0 or, scaled by 1 / (1 − p), doubled."""
    part = make("manual", dims(), dropout=0.5).train()
    v = torch.ones(200, 4, 1, 4, dtype=torch.float64)
    values = part.attend(v, v, v, None)
    assert set(values.unique().tolist()) == {0.0, 2.0}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="FlexAttention has a training kernel on CUDA only")
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("case", ["plain", "window", "padding", "bias"])
def test_flex_agrees_with_the_plain_formula_on_cuda(kv_heads: int, case: str) -> None:
    window = 5 if case == "window" else None
    flex = make("flex", dims(kv_heads, head_dim=16), window=window).float().cuda()
    plain = make("manual", dims(kv_heads, head_dim=16), window=window).float().cuda()
    plain.load_state_dict(flex.state_dict())
    x, bias = (t.float().cuda() for t in tensors((2, 128, 16), (4, 128, 128)))
    mask = (torch.arange(128)[None] >= torch.tensor([[0], [9]])).cuda() if case == "padding" else None
    span = Span(torch.arange(128, device="cuda")[None], key_mask=mask)
    places = Places(bias=bias) if case == "bias" else Places()
    torch.testing.assert_close(flex(x, span, places), plain(x, span, places), atol=1e-4, rtol=1e-4)
