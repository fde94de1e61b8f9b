"""Bytes that a training step takes on each device, by use and by mode.

P parameters, n devices; c bytes of an element in the pass's precision (2 in bf16 and fp16, else 4). Weights, gradients
and AdamW's two moments are float32 in every precision, 16 bytes a parameter, of which a mode spreads a part over the
devices (Rajbhandari et al. 2020, arXiv:1910.02054, section 5, there with the 16 bytes split otherwise):

    mode    weights  gradients  optimizer
    none      4P        4P        8P
    ddp       4P        4P        8P       gradients are views into the buckets that are sent
    zero1     4P        4P        8P/n
    fsdp2     4P/n      4P/n      8P/n     and what is in one piece, see `gathered`

The peak is taken where the backward pass begins, with gradients of earlier micro-batches there. CUDA's context, NCCL's
buffers and fragmentation are not counted; `USABLE` leaves room for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gatewright.config import ModelConfig
from gatewright.model.build import build
from gatewright.model.cost import ModelCost, cost
from gatewright.model.name import architecture_name
from gatewright.planning.activations import Footprint, footprint
from gatewright.planning.request import Mode, Recompute

USABLE = 0.9
"""Share of a device's memory that a plan may fill: an assumption."""


@dataclass(frozen=True)
class Subject:
    """What a plan knows of a model: its size, its cost and what its forward pass keeps."""

    model: ModelConfig
    architecture: str
    cost: ModelCost
    largest_block: int
    """Parameters of the largest block."""
    replicated: Footprint
    """Under ``none``, ``ddp`` and ``zero1``."""
    sharded: Footprint
    """Under ``fsdp2``."""
    element: int
    """Bytes of an element in the pass's precision."""

    def footprint(self, mode: Mode) -> Footprint:
        """What a forward pass keeps under ``mode``."""
        return self.sharded if mode == "fsdp2" else self.replicated

    @property
    def outside(self) -> int:
        """Parameters outside of the blocks if all blocks were as large as the largest: embedding, head, last norm."""
        return max(0, self.cost.parameters - self.model.n_layer * self.largest_block)


def measure(model: ModelConfig, precision: str) -> Subject:
    """Look at a model, without memory for its weights."""
    network = build(model, device="meta")
    largest = max(sum(p.numel() for p in block.parameters()) for block in network.blocks)
    replicated = footprint(model, precision)
    sharded = footprint(model, precision, low_weights=True) if precision != "float32" else replicated
    element = 4 if precision == "float32" else 2
    return Subject(model, architecture_name(network), cost(network), largest, replicated, sharded, element)


def memory(
    subject: Subject, mode: Mode, devices: int, recompute: Recompute, micro_batch: int, micro_batches: int
) -> dict[str, int]:
    """Bytes on each device by use; their sum is the peak."""
    parameters, found = subject.cost.parameters, subject.footprint(mode)
    share = parameters / devices
    kept = found.per_sequence[recompute]
    fully = mode == "fsdp2"
    return {
        "weights": round(4 * (share if fully else parameters)),
        "gradients": round(4 * (share if fully else parameters)),
        "optimizer": round(8 * (share if mode in ("zero1", "fsdp2") else parameters)),
        "copies": found.copies,
        "gathered": gathered(subject, micro_batches) if fully else 0,
        "activations": micro_batch * kept.activations,
        "logits": micro_batch * found.logits,
        # a block is computed again when the logits' gradients are gone, so only what exceeds them adds to the peak
        "recomputed": micro_batch * max(0, kept.recomputed - found.logits),
    }


def gathered(subject: Subject, micro_batches: int) -> int:
    """Bytes of what FSDP2 has in one piece at a time: c (3B + 2R) + 4B, with B a block's parameters, R those outside.

    A block and the next one, prefetched, and the block's gradient, in c bytes; its float32 copy on the way into the
    reduce-scatter; embedding and head, which stay gathered until the backward pass is over, with their gradient
    (https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html, ``reshard_after_forward`` of the root).
    Gradients that are accumulated over several micro-batches stay in one piece until the last of them: 4P more.
    """
    block, rest = subject.largest_block, subject.outside
    accumulated = 4 * subject.cost.parameters if micro_batches > 1 else 0
    return subject.element * (3 * block + 2 * rest) + 4 * block + accumulated


def largest_micro_batch(
    subject: Subject, mode: Mode, devices: int, recompute: Recompute, sequences: int, limit: float
) -> int:
    """The largest equal part of a device's ``sequences`` that fits into ``limit`` bytes; 0 if not even one does."""
    none, one = (sum(memory(subject, mode, devices, recompute, size, 1).values()) for size in (0, 1))
    most = min(sequences, int(max(0.0, limit - none) // (one - none)))  # what does not fit at once need not be tried
    parts = (size for size in range(most, 0, -1) if sequences % size == 0)
    return next((n for n in parts if fits(subject, mode, devices, recompute, n, sequences // n, limit)), 0)


def fits(
    subject: Subject,
    mode: Mode,
    devices: int,
    recompute: Recompute,
    micro_batch: int,
    micro_batches: int,
    limit: float,
) -> bool:
    """Whether a step takes no more than ``limit`` bytes of a device."""
    return sum(memory(subject, mode, devices, recompute, micro_batch, micro_batches).values()) <= limit


def devices_needed(subject: Subject, recompute: Recompute, micro_batch: int, limit: float) -> int | None:
    """The fewest devices over which FSDP2 fits without accumulation; None where not even their number helps."""
    spread = 16 * subject.cost.parameters
    alone = sum(memory(subject, "fsdp2", 1, recompute, micro_batch, 1).values()) - spread
    return math.ceil(spread / (limit - alone)) if limit > alone else None
