"""Steps of reinforcement learning: rollouts, their scores in the contexts they were made in, policy gradients."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gatewright.errors import RunError
from gatewright.paths.policies import policy_of
from gatewright.paths.scoring import TokenScores, add_divergence, compare_again, token_scores
from gatewright.rl.adapters import without_adapters
from gatewright.rl.learning.gate import PathGate
from gatewright.rl.learning.objective import divergence, policy_gradient, token_weights
from gatewright.rl.learning.rollouts import Batch, Collector, MicroBatch
from gatewright.training.update import Gradients, StepResult, Updater, derive_seed
from gatewright.training.work import Equipment, Outcome

if TYPE_CHECKING:
    from gatewright.rl.learning.work import RewardedWork

TOLERANCE = {"float32": 1e-3, "bf16": 0.5, "fp16": 0.5}
"""Largest difference between log-probabilities rolled out and recomputed: their sums are formed in another order."""
LOOKED_AT = 8
"""Questions of a step on which it is measured how much listening changes the distributions."""


class RewardedUpdater(Updater):
    """Policy gradients on N paths of each question, relative to their group.

    Each token's log-probability is taken in the context that produced it, with everything its path had heard, and
    compared with what it was when it was drawn. With a learnable similarity this is the second of two passes: A is
    computed again from what was compared, which is a constant, and gradients reach the gate through what was blended.
    """

    def __init__(self, work: RewardedWork, gate: PathGate, reference: nn.Module | None, equipment: Equipment) -> None:
        super().__init__(equipment)
        self.work, self.gate, self.reference, self.options = work, gate, reference, work.options
        self.tolerance = self.options.tolerance or TOLERANCE[self.precision.name]
        probe = work.probe(self.model)
        self.collector = Collector(work.form, self.options, gate, probe, self.precision, self.config.seed)
        self.steps_done = 0
        self._batch: Batch | None = None

    def step(self, step: int) -> StepResult:
        """``rl.updates_per_rollout`` updates on the paths of step ``step``."""
        self._batch = None
        for _ in range(self.options.updates_per_rollout):
            result = super().step(step)
        self.steps_done = step + 1
        return result

    def backward(self, step: int, forward: nn.Module) -> Gradients:
        """Gradients of the step's loss; its paths are generated if they are not there yet."""
        if self._batch is None or self._batch.step != step:
            self._batch = self._collect(step)
        batch = self._batch
        self._warm_gate_up(step)
        sums = _Sums(self.precision.device)
        for micro in batch.micro_batches:
            with self.precision.autocast():
                loss = self._loss(micro, batch, sums)
            self.precision.scaler.scale(loss).backward()
        return Gradients(sums.loss, batch.tokens, numbers={**batch.numbers, **self._numbers(sums)})

    def evaluate(self) -> Outcome:
        """How often a greedy and a sampled answer are right, and one with listening paths if that is asked for."""
        return self.work.evaluate(self.model, self.gate, self.precision, self.steps_done)

    def _collect(self, step: int) -> Batch:
        """The paths of a step, which are a function of the weights and of its number."""
        sampler, seed = self.work.sampler, derive_seed(self.config.seed, step, 0)
        drawn = sampler.rows(step, 0, sampler.batch_size)
        if step == 0 and self.options.calibrate_peers is not None:
            self.collector.calibrate(self.model, drawn)
        batch = self.collector.collect(self.model, step, drawn, self.config.batch_size, seed)
        if self.recorded(step):
            self._watch_listening(batch)
        return batch

    def _watch_listening(self, batch: Batch) -> None:
        """Record what listening was like, for a step that is going to be recorded."""
        first = batch.micro_batches[0].rollout
        if len(first.steps):
            with self.precision.autocast():
                add_divergence(self.model, first.select(slice(0, LOOKED_AT)).trimmed(), batch.diagnostics)
        batch.numbers |= {f"gate.{name}": value for name, value in batch.diagnostics.result().items()}
        if self.gate.similarity.tempered and not self.gate.silent:
            batch.numbers["gate.temperature"] = self.gate.similarity.temperature.item()
        heard = [m.rollout.blend_weights[m.rollout.listened] for m in batch.micro_batches]
        if weights := [w for w in heard if w.numel()]:
            batch.numbers["gate.blend_weight"] = torch.cat(weights).mean().item()

    def _loss(self, micro: MicroBatch, batch: Batch, sums: _Sums) -> Tensor:
        """The micro-batch's share of the step's loss."""
        options, rollout = self.options, micro.rollout
        attention = compare_again(self.gate.similarity, rollout) if self.gate.learnable else None
        scores = token_scores(self.model, rollout, attention=attention, temperature=options.sampling_temperature)
        if micro.old is None:
            self._check_on_policy(rollout.log_probs, scores, batch.step, sums)
            micro.old = scores.log_probs.detach()
        weights = token_weights(
            rollout.mask,
            options.loss_normalisation,
            paths=batch.paths,
            tokens=batch.tokens,
            max_new_tokens=self.work.form.max_new_tokens,
        )
        losses, clipped = policy_gradient(scores.log_probs, micro.advantages, micro.old, options.clip)
        if options.kl_weight > 0:
            distance = divergence(scores.log_probs, self._reference_log_probs(micro, attention))
            losses = losses + options.kl_weight * distance
            sums.add("kl", distance.detach(), rollout.mask)
        loss = (weights * losses).sum()
        sums.loss += loss.detach()
        sums.add("entropy", scores.entropy, rollout.mask)
        if options.clip is not None:
            sums.add("clip_share", clipped.float(), rollout.mask)
        return loss

    @torch.no_grad()
    def _reference_log_probs(self, micro: MicroBatch, attention: Tensor | None) -> Tensor:
        """What the model at the start gives the same tokens in the same contexts, with the same attention."""
        with nullcontext() if self.reference is not None else without_adapters(policy_of(self.model).model):
            return token_scores(
                self.model if self.reference is None else self.reference,
                micro.rollout,
                attention=None if attention is None else attention.detach(),
                temperature=self.options.sampling_temperature,
            ).log_probs

    def _check_on_policy(self, rolled_out: Tensor, scores: TokenScores, step: int, sums: _Sums) -> None:
        """Raise `RunError` if the log-probabilities of a rollout are not those of the model that learns from it."""
        gap = (scores.unscaled - rolled_out).abs()
        largest = gap.max()
        sums.gap = torch.maximum(sums.gap, largest)
        if not largest <= self.tolerance:
            raise RunError(
                f"step {step + 1}: recomputed log-probabilities differ from those rolled out by up to "
                f"{largest.item():.3g}, more than rl.tolerance={self.tolerance:g}: paths are not scored in the context "
                "they were drawn in"
            )

    def _warm_gate_up(self, step: int) -> None:
        """Take the gate's learning rate back while it warms up."""
        share = min(1.0, (step + 1) / max(1, self.options.gate_warmup_steps))
        for optimizer in self.optimizers.optimizers:
            for group in optimizer.param_groups:
                if group["name"] == "companion":
                    group["lr"] *= share

    def _numbers(self, sums: _Sums) -> dict[str, float | Tensor]:
        numbers: dict[str, float | Tensor] = {"logprob_gap": sums.gap, **sums.means()}
        if self.gate.learnable:
            found = [p.grad for p in self.gate.parameters() if p.grad is not None]
            if found:
                numbers["gate.grad_norm"] = nn.utils.get_total_norm(found)
        return numbers


class _Sums:
    """What the micro-batches of a step add up to; stays on the device."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), device=device)
        self.gap = torch.zeros((), device=device)
        self._totals: dict[str, tuple[Tensor, Tensor]] = {}

    def add(self, name: str, values: Tensor, mask: Tensor) -> None:
        """Take in a number for each token."""
        total, count = (values * mask).sum(), mask.sum()
        if name in self._totals:
            total, count = total + self._totals[name][0], count + self._totals[name][1]
        self._totals[name] = total, count

    def means(self) -> dict[str, Tensor]:
        """The means over all tokens."""
        return {name: total / count for name, (total, count) in self._totals.items()}
