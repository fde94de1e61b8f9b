"""A training planned: the mode that fits, its memory, its speed, its length, and what the scaling laws say of it."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any, get_args

from gatewright.config import ModelConfig
from gatewright.errors import UserError
from gatewright.model.cost import CONVENTION
from gatewright.planning.kinds import GIB, SUSTAINED, Kind, find_kind
from gatewright.planning.memory import USABLE, Subject, devices_needed, fits, largest_micro_batch, measure, memory
from gatewright.planning.request import Mode, PlanRequest, Recompute
from gatewright.planning.scaling import BESIROGLU, LAWS, extrapolated
from gatewright.planning.speed import LINK_SHARE, Speed, speed

BATCH_TOKENS = 2**19
"""The batch of the smaller GPT-3 models (Brown et al. 2020, arXiv:2005.14165, table 2.1)."""

DAY, HOUR = 86_400, 3_600


@dataclass(frozen=True)
class Choice:
    """How a run is spread over the devices, and whether that fits."""

    mode: Mode
    recompute: Recompute
    micro_batch: int
    micro_batches: int
    fits: bool


@dataclass(frozen=True)
class Plan:
    """A planned training. `to_dict` has all its numbers."""

    request: PlanRequest
    subject: Subject
    kind: Kind
    choice: Choice
    largest: dict[Mode, dict[Recompute, int]]
    """The largest micro-batch that fits, by mode and what is recomputed; 0 where not even one sequence does."""
    needed: int | None
    """The fewest devices over which FSDP2 makes the choice's micro-batch fit, without accumulation."""
    memory: dict[Mode, dict[str, int]]
    """Bytes on a device by mode and use, with what the choice recomputes and its micro-batch."""
    speed: Speed
    tokens: float
    length: str
    """Where ``tokens`` comes from."""

    @property
    def batch_tokens(self) -> int:
        """Tokens of an optimizer step."""
        sequences = self.request.gpus * self.choice.micro_batch * self.choice.micro_batches
        return sequences * self.subject.model.block_size

    @property
    def tokens_per_second(self) -> float:
        """Of all devices together."""
        return self.batch_tokens / self.speed.step

    @property
    def mfu(self) -> float:
        """Model FLOPs utilisation: FLOPs of the model, recomputed ones not among them, over the dense peak."""
        peak = self.request.gpus * self.kind.peak(self.request.precision)
        return self.tokens_per_second * self.subject.cost.flops_per_token / peak

    @property
    def days(self) -> float:
        """Length of the training, without evaluations, checkpoints and restarts."""
        return self.tokens / self.tokens_per_second / DAY

    @property
    def memory_limit(self) -> float:
        """Bytes a device may be filled with."""
        return USABLE * self.kind.memory * GIB

    def scaling(self) -> dict[str, Any]:
        """What each law says: the best model and text for C = 6ND, the loss there and here, and the difference."""
        parameters, tokens = self.subject.cost.active_parameters, self.tokens
        flops = 6 * parameters * tokens
        laws = {}
        for law in LAWS:
            best, loss = law.optimum(flops), law.loss(parameters, tokens)
            laws[law.name] = {
                "best_parameters": best.parameters,
                "best_tokens": best.tokens,
                "best_loss": best.loss,
                "loss": loss,
                "excess_loss": loss - best.loss,
                "source": law.source,
            }
        beyond = extrapolated(parameters, tokens)
        return {"flops": flops, "parameters": parameters, "tokens": tokens, "extrapolated": beyond, "laws": laws}

    def assumptions(self) -> list[str]:
        """What the numbers rest on, as sentences."""
        share = self.kind.sustained or SUSTAINED
        measured = self.kind.measured or f"assumed, there are no measurements for {self.kind.kind}"
        derived = f"{share:.1%} of the dense peak while computing ({measured})"
        return [
            f"speed: MFU {self.request.mfu:.1%} as asked" if self.request.mfu is not None else f"speed: {derived}",
            "communication: rings at "
            f"{LINK_SHARE:.0%} of the bandwidth, hidden behind the passes where the mode allows it",
            f"memory: {USABLE:.0%} of a device may be filled; float32 weights, gradients and AdamW moments",
            "length: no evaluations, checkpoints, failures or restarts",
            f"FLOPs: {CONVENTION}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        gpus, per_second = self.request.gpus, self.tokens_per_second
        return {
            "architecture": self.subject.architecture,
            "parameters": self.subject.cost.parameters,
            "flops_per_token": self.subject.cost.flops_per_token,
            "request": asdict(self.request),
            "choice": asdict(self.choice),
            "memory": {
                "by_mode_bytes": self.memory,
                "total_bytes": sum(self.memory[self.choice.mode].values()),
                "limit_bytes": round(self.memory_limit),
                "largest_micro_batch": self.largest,
                "devices_needed_with_fsdp2": self.needed,
            },
            "speed": {
                **asdict(self.speed),
                "step": self.speed.step,
                "step_without_overlap": self.speed.unhidden,
                "batch_tokens": self.batch_tokens,
                "tokens_per_second": per_second,
                "tokens_per_second_per_gpu": per_second / gpus,
                "tokens_per_day": per_second * DAY,
                "mfu": self.mfu,
            },
            "training": {
                "tokens": self.tokens,
                "length": self.length,
                "steps": math.ceil(self.tokens / self.batch_tokens),
                "flops": self.tokens * self.subject.cost.flops_per_token,
                "days": self.days,
                "gpu_hours": self.days * DAY / HOUR * gpus,
            },
            "scaling": self.scaling(),
            "assumptions": self.assumptions(),
        }


def plan(model: ModelConfig, request: PlanRequest) -> Plan:
    """Plan a training of ``model`` as ``request`` says. Raises `UserError` for what cannot be planned."""
    request.validate()
    kind = find_kind(request.kind)
    kind.peak(request.precision)
    own = _own_sequences(model, request)
    subject = measure(model, request.precision)
    limit = USABLE * kind.memory * GIB
    modes: list[Mode] = ["none"] if request.gpus == 1 else ["ddp", "zero1", "fsdp2"]
    if request.mode and request.mode not in modes:
        modes.append(request.mode)
    largest: dict[Mode, dict[Recompute, int]] = {
        mode: {
            recompute: largest_micro_batch(subject, mode, request.gpus, recompute, own, limit)
            for recompute in get_args(Recompute)
        }
        for mode in modes
    }
    choice = _choose(request, subject, largest, own, limit)
    at = (choice.recompute, choice.micro_batch, choice.micro_batches)
    spent = {mode: memory(subject, mode, request.gpus, *at) for mode in largest}
    taken = speed(
        subject,
        kind,
        request.precision,
        mode=choice.mode,
        devices=request.gpus,
        recompute=choice.recompute,
        micro_batch=choice.micro_batch,
        micro_batches=choice.micro_batches,
        per_node=request.per_node,
        network=request.network,
        mfu=request.mfu,
    )
    per_second = request.gpus * own * model.block_size / taken.step
    tokens, length = _length(subject, request, per_second)
    needed = devices_needed(subject, choice.recompute, choice.micro_batch, limit)
    return Plan(request, subject, kind, choice, largest, needed, spent, taken, tokens, length)


def _own_sequences(model: ModelConfig, request: PlanRequest) -> int:
    """Sequences of an optimizer step on each device: what comes nearest to the batch asked for, at least one."""
    asked = request.batch_tokens or BATCH_TOKENS
    own = asked / (model.block_size * request.gpus)
    micro = request.micro_batch or 1
    if request.batch_tokens is not None and round(own) < micro:
        raise UserError(
            f"batch_tokens={asked:g}: less than {micro} x {model.block_size} tokens for each of {request.gpus} devices"
        )
    return max(micro, round(own / micro) * micro)


def _choose(
    request: PlanRequest, subject: Subject, largest: dict[Mode, dict[Recompute, int]], own: int, limit: float
) -> Choice:
    """The least recomputing and then the simplest mode that fit; if none does, what comes nearest to it."""
    modes = [request.mode] if request.mode else list(largest)
    kinds: list[Recompute] = [request.recompute] if request.recompute else list(get_args(Recompute))
    for recompute, mode in itertools.product(kinds, modes):
        micro = request.micro_batch or largest[mode][recompute]
        if micro and fits(subject, mode, request.gpus, recompute, micro, own // micro, limit):
            return Choice(mode, recompute, micro, own // micro, True)
    micro = request.micro_batch or 1
    return Choice(modes[-1], kinds[-1], micro, own // micro, False)


def _length(subject: Subject, request: PlanRequest, per_second: float) -> tuple[float, str]:
    parameters = subject.cost.active_parameters
    if request.tokens is not None:
        return request.tokens, "as asked"
    if request.days is not None:
        return request.days * DAY * per_second, f"what {request.days:g} days allow"
    if request.flops is not None:
        return request.flops / (6 * parameters), f"C = 6ND = {request.flops:g} FLOPs"
    return BESIROGLU.tokens_for(parameters), f"best for this size by {BESIROGLU.name}"
