"""How long a training step takes: arithmetic, memory traffic, and what is sent between devices.

    step = max(FLOPs / (peak x sustained), bytes of the passes / bandwidth) + update + exposed communication

``sustained`` is the share of the dense peak that whole steps reached in published benchmarks of this kind of device
(``kinds.yaml``). Those contain kernels, launches and well-hidden communication alike, so that for small networks
of devices a part of the communication is counted twice. Latency, uneven devices, data, checkpoints and restarts are in
none of it. With ``mfu`` given, the step is FLOPs / (peak x mfu), and nothing else is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.planning.kinds import GB, GBIT, SUSTAINED, Kind
from gatewright.planning.memory import Subject
from gatewright.planning.request import Mode, Recompute

LINK_SHARE = 0.8
"""Share of a link's bandwidth that collectives reach: 235 of 300 GB/s on eight A100
(https://github.com/stas00/ml-engineering/tree/master/network, "Unidirectional vs Bidirectional")."""


@dataclass(frozen=True)
class Speed:
    """Seconds of an optimizer step, by what they go to."""

    arithmetic: float
    """The passes, if they are bound by FLOPs."""
    traffic: float
    """The passes, if they are bound by memory bandwidth: a floor."""
    update: float
    sent: float
    """Bytes that each device sends."""
    communication: float
    exposed: float
    """The part of it that the passes do not hide."""
    assumed: float | None
    """The whole step where the MFU is given."""

    @property
    def passes(self) -> float:
        """Forward and backward passes of all micro-batches."""
        return max(self.arithmetic, self.traffic)

    @property
    def step(self) -> float:
        """Expected seconds of a step."""
        return self.passes + self.update + self.exposed if self.assumed is None else self.assumed

    @property
    def unhidden(self) -> float:
        """Seconds of a step if no communication were hidden."""
        return self.step + (self.communication - self.exposed if self.assumed is None else 0.0)


def recomputed_flops(subject: Subject, recompute: Recompute) -> int:
    """FLOPs per sequence that recomputing adds: the forward pass of what is computed again."""
    parts = {"none": (), "feedforward": ("feedforward",), "blocks": ("attention", "feedforward", "position")}
    return sum(subject.cost.components[name].flops for name in parts[recompute])


def bytes_sent(subject: Subject, mode: Mode, devices: int, micro_batches: int) -> float:
    """Bytes that each device sends in an optimizer step, by rings.

    A ring reduce-scatter or all-gather of S bytes sends (n−1)/n S, an all-reduce both of them
    (https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md). So, with P parameters, c bytes in the pass's
    precision and k micro-batches (volumes as in Rajbhandari et al. 2020, section 7):

        ddp     2 (n−1)/n 4P                   gradients, once a step, in float32
        zero1   3 (n−1)/n 4P                   the same, then the updated weights
        fsdp2   (n−1)/n (2kcP + 4P)            weights for each pass, gradients once a step, in float32
    """
    parameters, ring = subject.cost.parameters, (devices - 1) / devices
    volumes = {
        "none": 0,
        "ddp": 2 * 4 * parameters,
        "zero1": 3 * 4 * parameters,
        "fsdp2": (2 * micro_batches * subject.element + 4) * parameters,
    }
    return ring * volumes[mode]


def link_bandwidth(kind: Kind, devices: int, per_node: int, network: float | None) -> float:
    """Bytes per second that a device sends on in a ring.

    In a node it is the link. Across nodes several rings share the network cards of a node, one ring a card, and a
    device's part in them adds up to the node's whole network, unless the link is slower: min(link, cards x network).
    """
    if devices <= per_node:
        return LINK_SHARE * kind.link * GB
    between = (network or kind.network or 0.0) * GBIT
    return LINK_SHARE * min(kind.link * GB, per_node * between)


def speed(
    subject: Subject,
    kind: Kind,
    precision: str,
    *,
    mode: Mode,
    devices: int,
    recompute: Recompute,
    micro_batch: int,
    micro_batches: int,
    per_node: int = 8,
    network: float | None = None,
    mfu: float | None = None,
) -> Speed:
    """The time of an optimizer step of ``micro_batches`` micro-batches on each device.

    Traffic: each micro-batch reads the weights twice, adds to the gradients (8 bytes a parameter), and writes and reads
    what it keeps. AdamW, fused, reads four numbers of a parameter and writes three (28 bytes), and clipping reads
    gradients twice and writes them once (12 bytes), for as many parameters as the device updates or holds gradients of.

    Hidden, by assumption: under ``ddp`` and ``zero1`` the all-reduce, behind the backward pass of the last micro-batch;
    under ``fsdp2`` everything, behind all passes. Not hidden: the gathering of updated weights under ``zero1``.
    """
    flops, parameters = subject.cost.total.flops, subject.cost.parameters
    sequences, peak = micro_batch * micro_batches, kind.peak(precision)
    again = recomputed_flops(subject, recompute)
    arithmetic = sequences * (3 * flops + again) / (peak * (kind.sustained or SUSTAINED))
    kept = micro_batch * subject.footprint(mode).per_sequence[recompute].activations
    moved = micro_batches * ((2 * subject.element + 8) * parameters + 2 * kept)
    traffic = moved / (kind.bandwidth * GB)
    held = parameters / devices if mode == "fsdp2" else parameters
    updated = parameters / devices if mode in ("zero1", "fsdp2") else parameters
    update = (12 * held + 28 * updated) / (kind.bandwidth * GB)
    sent, bandwidth = (
        bytes_sent(subject, mode, devices, micro_batches),
        link_bandwidth(kind, devices, per_node, network),
    )
    passes = max(arithmetic, traffic)
    backward = (2 * flops + again) / (3 * flops + again)
    if mode == "fsdp2":
        exposed = max(0.0, sent / bandwidth - passes)
    else:
        weights = sent / 3 if mode == "zero1" else 0.0
        exposed = max(0.0, (sent - weights) / bandwidth - backward * passes / micro_batches) + weights / bandwidth
    assumed = None if mfu is None else 3 * sequences * flops / (peak * mfu)
    return Speed(arithmetic, traffic, update, sent, sent / bandwidth, exposed, assumed)
