"""Seconds of a step: volumes and bandwidths by hand, what is hidden, and what more of anything does."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from gatewright.config import ModelConfig
from gatewright.model import cost
from gatewright.planning.kinds import SUSTAINED, find_kind, kinds
from gatewright.planning.memory import Subject, measure
from gatewright.planning.request import Mode
from gatewright.planning.speed import Speed, bytes_sent, link_bandwidth, recomputed_flops, speed

MODEL = ModelConfig(n_layer=2, n_head=4, n_embd=64, block_size=128, vocab_size=500)
H100 = find_kind("h100")


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A small model in bf16."""
    return measure(MODEL, "bf16")


def step(subject: Subject, mode: Mode = "ddp", **changes: Any) -> Speed:
    """A step on eight H100, four micro-batches of two sequences each."""
    given = {"devices": 8, "recompute": "none", "micro_batch": 2, "micro_batches": 4, **changes}
    return speed(subject, given.pop("kind", H100), "bf16", mode=mode, **given)


def ring(chunks: list[list[float]]) -> tuple[list[list[float]], int]:
    """A ring all-reduce, chunk by chunk; also how many chunks each device sent."""
    devices = len(chunks)
    have = [list(row) for row in chunks]
    sent = 0
    for phase in ("reduce-scatter", "all-gather"):
        for turn in range(devices - 1):
            start = 0 if phase == "reduce-scatter" else 1
            moving = [(d, (d - turn + start) % devices) for d in range(devices)]
            values = [have[d][c] for d, c in moving]
            for (d, c), value in zip(moving, values, strict=True):
                receiver = (d + 1) % devices
                have[receiver][c] = have[receiver][c] + value if phase == "reduce-scatter" else value
            sent += 1
    return have, sent


@pytest.mark.parametrize("devices", [2, 3, 8])
def test_the_volume_of_a_ring(subject: Subject, devices: int) -> None:
    """A simulated ring all-reduce adds up, and each device sends as much as `bytes_sent` says."""
    summed, sent = ring([[float(10 * d + c) for c in range(devices)] for d in range(devices)])
    assert all(row == [sum(10 * d + c for d in range(devices)) for c in range(devices)] for row in summed)
    gradients = 4 * subject.cost.parameters
    assert bytes_sent(subject, "ddp", devices, 1) == pytest.approx(sent * gradients / devices)


def test_volumes_by_hand(subject: Subject) -> None:
    parameters = subject.cost.parameters
    volumes = {mode: bytes_sent(subject, mode, 4, 3) / (0.75 * parameters) for mode in get_args(Mode)}
    assert volumes == pytest.approx({"none": 0, "ddp": 8, "zero1": 12, "fsdp2": 3 * 4 + 4})
    assert all(bytes_sent(subject, mode, 1, 3) == 0 for mode in get_args(Mode))


def test_bandwidth_in_a_node_and_between_nodes() -> None:
    assert link_bandwidth(H100, 8, 8, None) == pytest.approx(0.8 * 450e9)
    assert link_bandwidth(H100, 16, 8, None) == pytest.approx(0.8 * 8 * 50e9)
    assert link_bandwidth(H100, 16, 8, 1000.0) == pytest.approx(0.8 * 450e9)
    assert link_bandwidth(find_kind("a100"), 16, 4, None) == pytest.approx(0.8 * 4 * 25e9)
    assert link_bandwidth(find_kind("l4"), 16, 8, 10.0) == pytest.approx(0.8 * 8 * 1.25e9)


def test_arithmetic_by_hand(subject: Subject) -> None:
    """Eight sequences of 128 tokens on each device, at the share of the peak that H100 sustain."""
    flops = 8 * 128 * cost(MODEL).flops_per_token
    found = step(subject)
    assert found.arithmetic == pytest.approx(flops / (989.5e12 * 0.419))
    assert step(subject, kind=find_kind("l40s")).arithmetic == pytest.approx(flops / (362e12 * SUSTAINED))


def test_update_by_hand(subject: Subject) -> None:
    """AdamW moves 28 bytes a parameter and clipping 12, for those that the device has."""
    parameters = subject.cost.parameters
    moved = {"ddp": 40, "zero1": 12 + 28 / 8, "fsdp2": 40 / 8}
    for mode, each in moved.items():
        assert step(subject, mode).update == pytest.approx(each * parameters / 3.35e12)


def test_what_is_computed_again(subject: Subject) -> None:
    breakdown = cost(MODEL).breakdown
    attention, feedforward = (128 * breakdown[n]["forward_flops_per_token"] for n in ("attention", "feedforward"))
    assert recomputed_flops(subject, "none") == 0
    assert recomputed_flops(subject, "feedforward") == feedforward
    assert recomputed_flops(subject, "blocks") == attention + feedforward
    slow, fast = step(subject, recompute="blocks"), step(subject)
    assert slow.arithmetic / fast.arithmetic == pytest.approx(
        1 + (attention + feedforward) / (128 * cost(MODEL).flops_per_token)
    )


def test_hidden_and_exposed(subject: Subject) -> None:
    """A fast network hides the gradients behind the last backward pass; a slow one shows what is left of them."""
    slow = {"devices": 16, "network": 0.01}
    for mode in ("ddp", "fsdp2"):
        assert step(subject, mode, micro_batch=64).exposed == 0
    fast = step(subject, "zero1", micro_batch=64)
    assert fast.exposed == pytest.approx(fast.communication / 3)
    ddp = step(subject, "ddp", **slow)
    assert ddp.exposed == pytest.approx(ddp.communication - ddp.passes / 4 * 2 / 3)
    zero = step(subject, "zero1", **slow)
    assert zero.exposed == pytest.approx(ddp.exposed + zero.communication / 3)
    fully = step(subject, "fsdp2", **slow)
    assert fully.exposed == pytest.approx(fully.communication - fully.passes)
    assert fully.unhidden == pytest.approx(fully.passes + fully.update + fully.communication)


def test_memory_bandwidth_is_a_floor(subject: Subject) -> None:
    """A tiny model reads and writes longer than it computes."""
    found = step(subject, micro_batch=1)
    parameters, kept = subject.cost.parameters, subject.replicated.per_sequence["none"].activations
    assert found.traffic == pytest.approx(4 * (12 * parameters + 2 * kept) / 3.35e12)
    assert found.traffic > found.arithmetic
    assert found.passes == found.traffic


def test_a_given_mfu_says_it_all(subject: Subject) -> None:
    found = step(subject, mfu=0.25, devices=16, network=0.001)
    assert found.step == found.unhidden == pytest.approx(8 * 128 * cost(MODEL).flops_per_token / (989.5e12 * 0.25))


def test_more_is_never_faster(subject: Subject) -> None:
    for mode in ("ddp", "zero1", "fsdp2"):
        steps = [step(subject, mode, micro_batches=k).step for k in (1, 2, 4, 8)]
        assert steps == sorted(steps)
        slower = [step(subject, mode, devices=16, network=g).step for g in (400.0, 100.0, 1.0)]
        assert slower == sorted(slower)


@pytest.mark.parametrize("name", kinds())
def test_kinds_are_complete_and_sensible(name: str) -> None:
    kind = find_kind(name)
    peak = kind.peak("fp16")
    assert 1e13 < peak < 3e15
    assert kind.source.startswith("https://")
    assert kind.bandwidth >= 4 * kind.link
    assert 15 <= kind.memory <= 300
    assert (kind.sustained is None) == (not kind.measured)
    assert 50 < peak / (kind.bandwidth * 1e9) < 450  # FLOPs for each byte of memory traffic
