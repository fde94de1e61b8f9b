"""How a model is trained, and on how many devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatewright.config.knob import knob
from gatewright.errors import UserError


@dataclass
class TrainConfig:
    """Optimisation, schedule, precision and bookkeeping of one run."""

    seed: int = knob(0, "fixes initial parameters, batches and dropout")
    batch_size: int = knob(8, "sequences in a micro-batch")
    grad_accumulation: int = knob(1, "micro-batches in an optimizer step")
    max_steps: int = knob(1000, "optimizer steps")

    optimizer: Literal["adamw", "muon"] = knob("adamw", "muon: hidden matrices by Muon, all else by AdamW")
    learning_rate: float = knob(1e-3, "peak learning rate")
    alpha_learning_rate: float | None = knob(None, "peak learning rate of learnable α; null: learning_rate")
    schedule: Literal["cosine", "wsd", "constant"] = knob("cosine", "learning rate over steps, after the warm-up")
    warmup_steps: int | None = knob(None, "linear warm-up; null: a tenth of max_steps, at most 1000")
    min_lr_ratio: float = knob(0.1, "last learning rate as a share of the peak")
    decay_fraction: float = knob(0.2, "share of the steps in which wsd decays")
    weight_decay: float = knob(0.1, "decoupled weight decay; never on norms, biases and α")
    beta1: float = knob(0.9, "AdamW's first moment")
    beta2: float = knob(0.95, "AdamW's second moment")
    epsilon: float = knob(1e-8, "AdamW's ε")
    grad_clip: float = knob(1.0, "largest global gradient norm; 0: off")

    precision: Literal["float32", "bf16", "fp16", "auto"] = knob("auto", "auto: bf16 where the hardware has it")
    recompute: Literal["none", "feedforward", "blocks"] = knob(
        "none", "what the backward pass computes again instead of keeping it in memory"
    )
    compile: Literal["auto", True, False, "blocks"] = knob(
        "auto", "torch.compile the model, or its layers one by one; auto: the model if the run is long enough"
    )
    deterministic: bool = knob(True, "deterministic algorithms where they exist")
    threads: int | None = knob(None, "CPU threads; null: torch's choice")

    log_every: int = knob(10, "steps between records in metrics.jsonl")
    eval_every: int = knob(100, "steps between evaluations; the last step is always evaluated")
    eval_tokens: int = knob(98_304, "validation tokens scored, always the same ones")
    save_every: int = knob(500, "steps between checkpoints")
    keep_last: int = knob(2, "checkpoints kept besides the best")
    checkpoint_at_end: bool = knob(True, "save the final model")
    async_checkpoints: bool = knob(True, "write checkpoints while training goes on, from a copy in the CPU's memory")
    tensorboard: bool = knob(True, "also write TensorBoard event files")

    def validate(self) -> None:
        """Raise `UserError` for values that no run can have."""
        at_least_one = ("batch_size", "grad_accumulation", "max_steps", "log_every", "eval_every", "save_every",
                        "keep_last", "eval_tokens")  # fmt: skip
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise UserError(f"train.{name}={getattr(self, name)}: must be at least 1")
        for name in ("learning_rate", "epsilon"):
            if not getattr(self, name) > 0:
                raise UserError(f"train.{name}={getattr(self, name)}: must be positive")
        for name in ("weight_decay", "grad_clip", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"train.{name}={getattr(self, name)}: must not be negative")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"train.{name}={getattr(self, name)}: must be in [0, 1)")
        for name in ("min_lr_ratio", "decay_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"train.{name}={getattr(self, name)}: must be in [0, 1]")
        if self.alpha_learning_rate is not None and self.alpha_learning_rate < 0:
            raise UserError(f"train.alpha_learning_rate={self.alpha_learning_rate}: must not be negative")
        if self.warmup_steps is not None and not 0 <= self.warmup_steps <= self.max_steps:
            raise UserError(
                f"train.warmup_steps={self.warmup_steps}: must be between 0 and train.max_steps={self.max_steps}"
            )
        if self.threads is not None and self.threads < 1:
            raise UserError(f"train.threads={self.threads}: must be at least 1")


@dataclass
class ParallelConfig:
    """How one run is spread over devices."""

    mode: str = knob("none", "none: one process, one device")
