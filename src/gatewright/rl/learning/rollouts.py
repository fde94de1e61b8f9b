"""What a step learns from: paths of its questions, their rewards and advantages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gatewright.config.rl import RLConfig
from gatewright.errors import UserError
from gatewright.paths.calibration import calibrate_temperature
from gatewright.paths.diagnostics import Diagnostics
from gatewright.paths.rollout import Rollout
from gatewright.paths.similarities.base import Similarity
from gatewright.rl.asking import Asked, Draws, ask
from gatewright.rl.format import Format
from gatewright.rl.learning.advantages import group_advantages, shuffled, zero_variance
from gatewright.rl.learning.gate import PathGate
from gatewright.rl.tasks import Question
from gatewright.training.precision import Precision


@dataclass
class MicroBatch:
    """Some of a step's questions with all of their paths."""

    rollout: Rollout
    advantages: Tensor
    """``(B, N)``."""
    old: Tensor | None = None
    """Log-probabilities ``(B, N, T)`` before the first update, once they are known."""


@dataclass
class Batch:
    """All of a step's questions."""

    step: int
    micro_batches: list[MicroBatch]
    numbers: dict[str, float]
    """What to record about them."""
    diagnostics: Diagnostics = field(repr=False)
    tokens: int = 0
    paths: int = 0


class Collector:
    """Asks a step's questions and puts together what is to be learned from the answers."""

    def __init__(
        self, form: Format, options: RLConfig, gate: PathGate, probe: Similarity, precision: Precision, seed: int
    ) -> None:
        self.form, self.options, self.gate, self.probe = form, options, gate, probe
        self.precision, self.seed = precision, seed

    def collect(
        self, model: nn.Module, step: int, drawn: list[tuple[int, Question]], batch_size: int, shuffle_seed: int
    ) -> Batch:
        """Paths of the questions ``drawn``, in micro-batches of ``batch_size`` questions."""
        diagnostics, asked = Diagnostics(), []
        at_a_time = self.options.rollout_questions or len(drawn)
        for start in range(0, len(drawn), at_a_time):
            asked.append(self._ask(model, drawn[start : start + at_a_time], diagnostics))
        rewards = torch.cat([one.rewards for one in asked])
        given = shuffled(rewards, shuffle_seed) if self.options.shuffle_rewards else rewards
        advantages = group_advantages(given, normalise=self.options.normalise_advantages)
        micro_batches = list(_micro_batches(asked, advantages.to(self.precision.device), batch_size))
        lengths = torch.cat([one.rollout.lengths for one in asked])
        ended = torch.cat([one.rollout.ended for one in asked])
        numbers = {
            "reward": rewards.mean().item(),
            "accuracy": (rewards >= 1).double().mean().item(),
            "zero_variance": zero_variance(rewards).double().mean().item(),
            "completion_length": lengths.double().mean().item(),
            "cut_share": (~ended).double().mean().item(),
            "raised": float(sum(one.counts["raised"] for one in asked)),
            "timed_out": float(sum(one.counts["timed_out"] for one in asked)),
        }
        return Batch(step, micro_batches, numbers, diagnostics, int(lengths.sum()), lengths.numel())

    def calibrate(self, model: nn.Module, drawn: list[tuple[int, Question]]) -> None:
        """Set the similarity's temperature so that these questions' paths hear ``rl.calibrate_peers`` on average.

        Whom a path hears changes what it says, and so what it will hear: three rounds.
        """
        assert self.options.calibrate_peers is not None
        for _ in range(3):
            seen = _Seen()
            self._ask(model, drawn, seen)
            try:
                temperature = calibrate_temperature(
                    torch.cat(seen.similarities), torch.cat(seen.live), self.options.calibrate_peers
                )
            except UserError as error:
                raise UserError(f"rl.calibrate_peers={self.options.calibrate_peers}: {error}") from error
            self.gate.similarity.temperature.fill_(temperature)

    def _ask(self, model: nn.Module, drawn: list[tuple[int, Question]], diagnostics: Diagnostics) -> Asked:
        options = self.options
        return ask(
            model,
            self.form,
            [question for _, question in drawn],
            paths=options.paths,
            draws=Draws(options.sampling_temperature, options.sampling_top_p, self.seed),
            listening=self.gate.listening,
            question_ids=[place for place, _ in drawn],
            diagnostics=diagnostics,
            probe=self.probe,
            autocast=self.precision.autocast(),
        )


class _Seen(Diagnostics):
    """Keeps similarities, to choose a temperature by."""

    def __init__(self) -> None:
        super().__init__()
        self.similarities: list[Tensor] = []
        self.live: list[Tensor] = []

    def add(
        self,
        similarity: Tensor,
        attention: Tensor,
        live: Tensor,
        tokens: Tensor | None = None,
        blended: Tensor | None = None,
    ) -> None:
        """Keep one step's."""
        self.similarities.append(similarity.cpu())
        self.live.append(live.to("cpu", copy=True))  # a rollout goes on writing into it


def _micro_batches(asked: list[Asked], advantages: Tensor, batch_size: int) -> Iterator[MicroBatch]:
    begun = 0
    for one in asked:
        count = len(one.rewards)
        for start in range(0, count, batch_size):
            place = slice(start, min(start + batch_size, count))
            worth = advantages[begun + place.start : begun + place.stop]
            yield MicroBatch(one.rollout.select(place).trimmed(), worth)
        begun += count
