"""Position encodings beside their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gatewright.parts.part import Dims
from gatewright.parts.positions.alibi import alibi_slopes
from gatewright.parts.positions.base import Span
from gatewright.parts.positions.rope import rotate
from gatewright.registry import create

DIMS = Dims(n_embd=32, n_head=4, kv_heads=4, head_dim=8, block_size=20)


def heads(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def turned_by_hand(x: Tensor, positions: Tensor, theta: float, width: int) -> Tensor:
    """Channels i and i + R/2 as one complex number, multiplied by e^(i p θ^(−2i/R))."""
    half = width // 2
    pairs = torch.complex(x[..., :half], x[..., half:width])
    frequency = torch.tensor([theta ** (-2 * i / width) for i in range(half)], dtype=torch.float64)
    turned = pairs * torch.exp(1j * positions[:, None, :, None] * frequency)
    return torch.cat((turned.real, turned.imag, x[..., width:]), dim=-1)


@pytest.mark.parametrize(("theta", "fraction"), [(10_000.0, 1.0), (500_000.0, 1.0), (100.0, 0.5)])
def test_rope_is_a_rotation_of_complex_numbers(theta: float, fraction: float) -> None:
    part = create("position", {"name": "rope", "theta": theta, "fraction": fraction}, DIMS)
    positions = torch.tensor([[0, 1, 2, 7], [3, 4, 5, 19]])
    x = heads(2, 4, 4, 8)
    found = rotate(x, part(Span(positions)).rotation)
    # angles are float32: at position 19 one rounding is 19 · 2⁻²⁴ ≈ 1e-6
    torch.testing.assert_close(found, turned_by_hand(x, positions, theta, int(8 * fraction)), atol=1e-5, rtol=0)


def test_rope_products_depend_on_distance_alone() -> None:
    part = create("position", "rope", DIMS)
    q, k = heads(1, 1, 1, 8).expand(1, 1, 6, 8), heads(1, 1, 2, 8)[:, :, 1:].expand(1, 1, 6, 8)
    near = part(Span(torch.arange(6)[None])).rotation
    far = part(Span(torch.arange(6)[None] + 9)).rotation
    torch.testing.assert_close(
        rotate(q, near) @ rotate(k, near).mT, rotate(q, far) @ rotate(k, far).mT, atol=1e-5, rtol=0
    )


def test_rope_keeps_lengths() -> None:
    x = heads(1, 4, 6, 8)
    turned = rotate(x, create("position", "rope", DIMS)(Span(torch.arange(6)[None] + 500)).rotation)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-6, rtol=0)
    assert not torch.allclose(turned, x, atol=0.1)


def test_rope_angles_stay_float32_in_bfloat16_models() -> None:
    """In bfloat16 position 257 would be 256: neighbours far into a text would look the same."""
    part = create("position", "rope", DIMS).bfloat16()
    cos, _ = part(Span(torch.tensor([[256, 257]]))).rotation
    assert cos.dtype == torch.float32
    assert abs(cos[0, 0, 0, 0].item() - math.cos(256)) < 1e-5
    assert abs(cos[0, 0, 1, 0].item() - math.cos(257)) < 1e-5


@pytest.mark.parametrize(
    ("n_head", "slopes"),
    [
        (8, [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]),  # the paper's own example
        (1, [1 / 256]),
        (4, [1 / 4, 1 / 16, 1 / 64, 1 / 256]),
        (6, [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8]),  # four heads' slopes, then every other of eight heads'
    ],
)
def test_alibi_slopes(n_head: int, slopes: list[float]) -> None:
    assert alibi_slopes(n_head) == pytest.approx(slopes)


def test_alibi_takes_slope_times_distance_off() -> None:
    bias = create("position", "alibi", DIMS)(Span(torch.arange(3, 6)[None], start=3)).bias
    assert bias.shape == (4, 3, 6)
    for head, slope in enumerate([1 / 4, 1 / 16, 1 / 64, 1 / 256]):
        for query in range(3):
            for key in range(3 + query + 1):
                assert bias[head, query, key].item() == pytest.approx(-slope * (3 + query - key))


def test_learned_positions_are_rows_of_a_table() -> None:
    part = create("position", "learned", DIMS)
    nn.init.normal_(part.embedding.weight)
    positions = torch.tensor([[0, 3, 19]])
    assert torch.equal(part.embed(Span(positions)), part.embedding.weight[positions])


def test_no_position_says_nothing() -> None:
    part, span = create("position", "none", DIMS), Span(torch.arange(4)[None])
    assert part.embed(span) is None
    assert part(span).rotation is None
    assert part(span).bias is None
