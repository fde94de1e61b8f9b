"""The training loop: steps, records, evaluations, checkpoints, and the ways a run can end."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.config import Config, to_yaml
from gatewright.errors import DivergedError, RunError
from gatewright.hardware.measure import Peak
from gatewright.hardware.memory import Memory, memory
from gatewright.parts.alpha.base import Alpha
from gatewright.run import CONFIG, EVALUATION
from gatewright.training.checkpoint import TrainerState, take_snapshot
from gatewright.training.diagnose import first_non_finite
from gatewright.training.folder import write_array, write_summary
from gatewright.training.guard import NonFiniteError
from gatewright.training.interrupt import Interrupt
from gatewright.training.saver import Saver
from gatewright.training.stopwatch import Stopwatch
from gatewright.training.subject import Subject
from gatewright.training.summary import mfu, summarise
from gatewright.training.tracker import Tracker
from gatewright.training.update import StepResult, Updater

MEMORY_KEPT = 0.5
"""Seconds for which records share a look at memory: it takes longer than writing the record."""


@dataclass(frozen=True)
class Setting:
    """What stays the same through a run."""

    config: Config
    folder: Path
    subject: Subject
    companion: nn.Module | None
    peak: Peak
    flops_per_token: int
    """FLOPs of learning from one token."""


class Trainer:
    """Takes a run from ``state`` to ``train.max_steps``.

    "Step N" in records, file names and messages means that N updates are done. After each update, in this order: a
    record if due, an evaluation if due, a checkpoint if due. A checkpoint of step N therefore holds everything about
    the first N steps, and resuming from it repeats none of it.
    """

    def __init__(self, setting: Setting, updater: Updater, state: TrainerState, saver: Saver, tracker: Tracker) -> None:
        self.setting = setting
        self.config = setting.config.train
        self.updater = updater
        self.model = setting.subject.model
        self.state = state
        self.saver = saver
        self.tracker = tracker
        self.parallel = updater.parallel
        self.device = updater.precision.device
        self.watch = Stopwatch(self.device, state.timed_seconds, state.timed_tokens)
        self.alphas = [module for module in self.model.modules() if isinstance(module, Alpha)]
        self._began = time.monotonic() - state.seconds
        self._unread: list[Tensor] = []  # (loss, gradient norm) of each step since they were last looked at
        self._first_step = True
        self._memory: Memory | None = None
        self._memory_at = 0.0

    def run(self, interrupt: Interrupt) -> str:
        """Train until done or interrupted; returns the status, which is also in summary.json.

        Raises `DivergedError` for a loss that is no longer a number, `RunError` for a full disk and exhausted memory;
        whatever is raised, the summary says ``diverged`` or ``failed``, and why.
        """
        try:
            self.write_summary("running")
            self.model.train()
            self.tell_alphas(self.state.step)
            if self.setting.config.init is not None and self.state.step == 0:
                self.evaluate()  # what training starts from is half of what it achieves
            self.watch.start()
            while self.state.step < self.config.max_steps and not self.parallel.any(interrupt.requested is not None):
                self.advance()
            self.watch.pause()
            status = "finished" if self.state.step >= self.config.max_steps else "interrupted"
            if status == "interrupted":
                self.leave(interrupt.requested or "another process was asked to stop")
            self.saver.wait()
            self.write_summary(status)
            return status
        except BaseException as error:
            known = self.parallel.explained(error)
            self.fail(known)
            if known is error:
                raise
            raise known from error

    def advance(self) -> None:
        """One update and whatever is due after it."""
        number = self.state.step
        try:
            result = self.updater.step(number)
        except NonFiniteError as error:
            raise self.explained(error) from None
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            raise RunError(
                f"out of memory on {self.device} at step {number + 1}; lower train.batch_size and raise "
                "train.grad_accumulation by the same factor for the same batch"
            ) from error
        self._unread.append(torch.stack((result.loss, result.grad_norm.to(result.loss.dtype))))
        self.state.step = step = number + 1
        last = step == self.config.max_steps
        self.tell_alphas(self.state.step)
        self.state.tokens += result.gradients.tokens
        self.watch.add(result.gradients.tokens)
        if self._first_step and not last:
            self.watch.discard()  # it paid for compilation and cold caches
        self._first_step = False
        self.tracker.advance(step)
        if self.updater.recorded(number):
            self.record(result)
        if step % self.config.eval_every == 0 or last:
            self.evaluate()
        if self.config.checkpoint_at_end if last else step % self.config.save_every == 0:
            self.save()

    def tell_alphas(self, step: int) -> None:
        """``step`` updates are done, by which scheduled α's go."""
        for alpha in self.alphas:
            alpha.set_step(step, self.config.max_steps)

    def read_losses(self) -> None:
        """Fetch the losses of the steps since the last look; raise if one is not finite. Waits for the device."""
        if not self._unread:
            return
        numbers = torch.stack(self._unread).tolist()
        first = self.state.step - len(self._unread)
        self._unread.clear()
        scaled = self.updater.precision.scaler.is_enabled()
        for step, (loss, norm) in enumerate(numbers, start=first):
            if not (math.isfinite(loss) and (scaled or math.isfinite(norm))):
                raise self.explained(NonFiniteError(step, loss, norm))
            self.state.losses.append(loss)

    def explained(self, error: NonFiniteError) -> DivergedError:
        """The error for a step whose loss or gradient is not finite, with the module in which that begins."""
        self.watch.pause()
        self.tell_alphas(error.step)
        where = first_non_finite(self.model, lambda: self.updater.backward(error.step, self.model).loss)
        return DivergedError(f"{error}; {where}")

    def record(self, result: StepResult) -> None:
        """Append a training record: the mean loss since the last one, and the state of things at this step."""
        self.read_losses()
        norm = result.grad_norm.item()
        rate = self.watch.tokens_per_second()
        used = self.memory_of_late()
        self.state.peak_memory_bytes = max(self.state.peak_memory_bytes, used.peak)
        self.state.final_train_loss = fmean(self.state.losses)
        self.state.losses.clear()
        flops = self.setting.flops_per_token
        record: dict[str, Any] = {
            "kind": "train",
            "step": self.state.step,
            "tokens": self.state.tokens,
            "loss": self.state.final_train_loss,
            "lr": result.learning_rate,
            "grad_norm": norm,
            **self.gradient_moments(result, norm),
            "alpha": self.model.alphas() if self.alphas else {},
            "tokens_per_second": rate,
            "flops_per_second": rate and rate * flops,
            "mfu": mfu(flops, rate, self.setting.peak.flops),
            "memory_bytes": used.used,
            "peak_memory_bytes": used.peak,
            "reserved_memory_bytes": used.reserved,
            "time": time.time(),
        }
        if result.gradients.aux_loss is not None:
            record["aux_loss"] = result.gradients.aux_loss.item()
        record |= {name: float(value) for name, value in result.gradients.numbers.items()}
        if reports := self.model.reports():
            record["reports"] = reports
        self.tracker.append(record)

    def memory_of_late(self) -> Memory:
        """What is in use, or was a moment ago; after the last step what is."""
        now = time.monotonic()
        last = self.state.step == self.config.max_steps
        if self._memory is None or last or now >= self._memory_at + MEMORY_KEPT:
            self._memory, self._memory_at = memory(self.device), now
        return self._memory

    def gradient_moments(self, result: StepResult, norm: float) -> dict[str, float]:
        """Mean and standard deviation over all entries of the gradients as clipped, of norm ``norm`` before that."""
        count = sum(p.numel() for p in self.updater.optimizers.parameters if p.grad is not None)
        if not count:
            return {"grad_mean": 0.0, "grad_std": 0.0}
        clipped = min(norm, self.config.grad_clip) if self.config.grad_clip > 0 else norm
        assert result.grad_sum is not None, "the sum is formed in the steps that are recorded"
        mean = result.grad_sum.item() * (clipped / norm if norm else 1.0) / count
        return {"grad_mean": mean, "grad_std": math.sqrt(max(0.0, clipped**2 / count - mean**2))}

    def evaluate(self) -> None:
        """Judge the model and append an evaluation record."""
        self.read_losses()
        self.watch.pause()
        outcome = self.updater.evaluate()
        step, score = self.state.step, outcome.score
        if not math.isfinite(score):
            what = outcome.judged_by.removeprefix("val_")
            raise DivergedError(f"the validation {what} became {outcome.numbers[outcome.judged_by]} at step {step}")
        self.state.val = {"val_step": step, **outcome.numbers}
        if not self.state.best or score < self.state.best["score"]:
            judged = outcome.numbers[outcome.judged_by]
            assert judged is not None
            self.state.best = {"score": score, "val_step": step, outcome.judged_by: judged}
        self.tracker.append({"kind": "eval", "step": step, "tokens": self.state.tokens, **outcome.numbers})
        if self.parallel.is_main and step == self.config.max_steps and outcome.sequences is not None:
            write_array(self.setting.folder / EVALUATION, outcome.sequences)
        self.state.score = score
        self.watch.start()

    def save(self) -> None:
        """Begin a checkpoint of this step, once the one before it is there."""
        self.read_losses()
        self.watch.pause()
        self.saver.wait()
        self.update_clocks()
        self.state.scaler = self.updater.precision.scaler.state_dict()
        score = self.state.score if self.state.val.get("val_step") == self.state.step else None
        setting = self.setting
        try:
            snapshot = take_snapshot(
                self.model, setting.companion, self.updater.optimizers, self.state, to_yaml(setting.config),
                setting.subject.files, self.saver.background,
            )  # fmt: skip
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            raise RunError(
                "out of memory for the copy of weights and optimizer that is written while training goes on; set "
                "train.async_checkpoints=false"
            ) from error
        self.saver.save(self.state.step, snapshot, score)
        self.watch.start()

    def leave(self, signal: str) -> None:
        """Save and say how to go on."""
        if self.state.step and self.state.step % self.config.save_every:
            self.save()
            self.watch.pause()
        self.saver.wait()
        saved = f"stopped after step {self.state.step}, saved" if self.state.step else "stopped before the first step"
        config = self.setting.folder / CONFIG
        self.tracker.note(f"{signal}: {saved}. Continue with: gatewright train --config {config} resume=auto")

    def fail(self, error: BaseException) -> None:
        """Record how the run ended, keeping the original error if even that cannot be written."""
        ends = {KeyboardInterrupt: "interrupted", DivergedError: "diverged"}
        status = ends.get(type(error), "failed")
        message = " ".join(str(error).split()) or type(error).__name__
        try:
            self.write_summary(status, message)
        except Exception as second:
            error.add_note(f"and then summary.json could not be written: {second}")

    def write_summary(self, status: str, error: str | None = None) -> None:
        """Write summary.json."""
        self.update_clocks()
        alpha = self.model.alphas()
        if not self.parallel.is_main:
            return
        summary = summarise(
            self.setting.config,
            self.setting.subject.architecture,
            self.setting.subject.cost,
            self.state,
            status=status,
            flops_per_token=self.setting.flops_per_token,
            peak_flops=self.setting.peak.flops,
            alpha=alpha,
            error=error,
        )
        write_summary(self.setting.folder, summary)

    def update_clocks(self) -> None:
        """Bring the clocks in ``state`` up to date."""
        self.state.seconds = time.monotonic() - self._began
        self.state.timed_seconds, self.state.timed_tokens = self.watch.seconds, self.watch.tokens


def _out_of_memory(error: Exception) -> bool:
    """Torch has an error of its own for accelerators; on the CPU only the message tells."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)
