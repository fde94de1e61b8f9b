"""Reinforcement learning on a task: how paths are generated, what they hear of one another, and the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gatewright.config.knob import knob
from gatewright.errors import UserError
from gatewright.schema import check_keys, check_value


@dataclass
class LoRAConfig:
    """Low-rank adapters (Hu et al., 2021, arXiv:2106.09685) in place of training all weights, through ``peft``.

    They have no dropout: rollouts and their scores must come from the same model.
    """

    r: int = knob(32, "rank")
    alpha: int = knob(64, "scale: what an adapter adds is multiplied by alpha / r")
    targets: Any = knob("all-linear", "all-linear, or names of linear layers such as [q_proj, v_proj]")

    def validate(self) -> None:
        """Raise `UserError` for adapters that cannot be."""
        for name in ("r", "alpha"):
            if getattr(self, name) < 1:
                raise UserError(f"rl.lora.{name}={getattr(self, name)}: must be at least 1")
        named = isinstance(self.targets, list) and self.targets and all(isinstance(t, str) for t in self.targets)
        if self.targets != "all-linear" and not named:
            raise UserError(f"rl.lora.targets={self.targets!r}: expected all-linear or a list of names of layers")


ADAPTIVE = {"minimum": float, "maximum": float, "softness": float, "momentum": float}
"""The knobs of a blend weight that follows a path's doubt (`gatewright.paths.AdaptiveWeight`)."""


@dataclass
class RLConfig:
    """Group-relative policy gradients on N paths a question, which may listen to one another (M3PO).

    A step takes ``train.batch_size`` × ``train.grad_accumulation`` questions; the learning pass takes ``batch_size`` of
    them at a time. Optimizer, schedule and clipping of gradients are those of ``train``.
    """

    paths: int = knob(8, "paths of a question (N, the group)")
    max_new_tokens: int | None = knob(None, "longest completion; null: the longest a demonstrator writes, else 1024")
    sampling_temperature: float = knob(1.0, "temperature of the draws")
    sampling_top_p: float = knob(1.0, "draw from the fewest tokens that hold this probability")
    rollout_questions: int | None = knob(None, "questions generated at a time; null: all of a step")
    train_questions: int = knob(16_384, "questions to learn from; tasks from data sets have all of theirs at most")
    chat: bool = knob(False, "put prompts as a user's message, in the chat format of the model's tokenizer")

    similarity: Any = knob("none", "whom a path hears; none: plain GRPO", part="similarity")
    blend: Literal["embeddings", "logits"] = knob("embeddings", "what is blended: next inputs (M3PO), or output logits")
    blend_weight: Any = knob(0.1, "λ, or {minimum: 0, maximum: 0.2} to follow each path's doubt")
    temperature: float | None = knob(None, "temperature T of listening; null: 0.1")
    calibrate_peers: float | None = knob(
        None, "choose T at the start so that a path hears this many effective peers on average, where peers differ"
    )
    gate_learning_rate: float | None = knob(None, "peak learning rate of a learnable similarity; null: that of train")
    gate_warmup_steps: int = knob(0, "steps over which a learnable similarity's learning rate rises")

    normalise_advantages: bool = knob(True, "divide by the group's standard deviation + 1e-4; no: Dr. GRPO")
    loss_normalisation: Literal["token", "sequence", "constant"] = knob(
        "token", "what a step's sum is divided by: all tokens (DAPO), each path's own (GRPO), max_new_tokens (Dr. GRPO)"
    )
    clip: float | None = knob(None, "PPO's ε for the ratio to the log-probabilities rolled out; null: none")
    updates_per_rollout: int = knob(1, "optimizer steps on the same paths")
    kl_weight: float = knob(0.0, "β of the divergence from the model at the start")
    lora: LoRAConfig | None = knob(None, "low-rank adapters instead of all weights, for models of transformers")
    tolerance: float | None = knob(
        None, "largest difference between a log-probability rolled out and recomputed; null: 1e-3, or 0.5 below float32"
    )
    shuffle_rewards: bool = knob(False, "control: permute rewards within each group")

    eval_questions: int = knob(500, "held-out questions of an evaluation, always the same ones")
    eval_samples: int = knob(4, "paths of each question for the sampled accuracy")
    eval_gated: bool = knob(False, "also evaluate with paths that listen")

    def validate(self) -> None:
        """Raise `UserError` for values that cannot be. A similarity checks its own knobs when it is made."""
        for name in ("max_new_tokens", "rollout_questions", "train_questions", "updates_per_rollout", "eval_questions",
                     "eval_samples"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"rl.{name}={value}: must be at least 1")
        if self.paths < 2:
            raise UserError(f"rl.paths={self.paths}: advantages compare the paths of a question, so at least 2")
        if not self.sampling_temperature > 0:
            raise UserError(f"rl.sampling_temperature={self.sampling_temperature}: must be positive")
        if not 0 < self.sampling_top_p <= 1:
            raise UserError(f"rl.sampling_top_p={self.sampling_top_p}: must be in (0, 1]")
        for name in ("temperature", "tolerance", "clip", "gate_learning_rate", "calibrate_peers"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"rl.{name}={value}: must be positive")
        for name in ("kl_weight", "gate_warmup_steps"):
            if getattr(self, name) < 0:
                raise UserError(f"rl.{name}={getattr(self, name)}: must not be negative")
        if self.clip is not None and self.updates_per_rollout == 1:
            raise UserError(
                f"rl.clip={self.clip}: with one update a rollout the ratio is 1 and nothing is clipped; "
                "set rl.updates_per_rollout to 2 or more, or leave clip out"
            )
        if self.calibrate_peers is not None and self.temperature is not None:
            raise UserError("rl.calibrate_peers chooses the temperature, so rl.temperature must not be set")
        self._check_blend_weight()
        if self.lora is not None:
            self.lora.validate()

    def _check_blend_weight(self) -> None:
        weight = self.blend_weight
        if isinstance(weight, Mapping):
            check_keys("rl.blend_weight", map(str, weight), ADAPTIVE)
            for key, value in weight.items():
                check_value(f"rl.blend_weight.{key}", value, ADAPTIVE[key])
        elif not 0 <= check_value("rl.blend_weight", weight, float) <= 1:
            raise UserError(f"rl.blend_weight={weight}: must be in [0, 1]")
