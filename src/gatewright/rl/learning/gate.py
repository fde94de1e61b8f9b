"""The gate between paths as a run has it: a similarity and a blend weight, trained and saved beside the model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from gatewright.config.rl import RLConfig
from gatewright.errors import UserError
from gatewright.paths.adaptive import AdaptiveWeight
from gatewright.paths.make import make_similarity
from gatewright.paths.similarities.none import NoSimilarity
from gatewright.rl.asking import Listening


class PathGate(nn.Module):
    """What ``rl.similarity``, ``rl.blend_weight`` and their kin describe, for a model of this width and vocabulary.

    Raises `UserError` for a similarity that cannot be, and for a temperature to be calibrated that has no effect.
    """

    def __init__(
        self, options: RLConfig, *, width: int, vocab_size: int, seed: int = 0, device: torch.device | None = None
    ) -> None:
        super().__init__()
        self.similarity = make_similarity(
            options.similarity,
            temperature=options.temperature,
            n_embd=width,
            vocab_size=vocab_size,
            seed=seed,
            device=device,
        )
        self.blends = options.blend
        self.learning_rate = options.gate_learning_rate
        self.weight: float | AdaptiveWeight
        if isinstance(options.blend_weight, Mapping):
            self.weight = AdaptiveWeight(**{str(k): float(v) for k, v in options.blend_weight.items()}).to(device)
        else:
            self.weight = float(options.blend_weight)
        self.learnable = not self.silent and any(True for _ in self.similarity.parameters())
        if options.calibrate_peers is not None and (self.silent or self.learnable or not self.similarity.tempered):
            raise UserError(
                f"rl.calibrate_peers={options.calibrate_peers}: there is no temperature to choose for "
                f"rl.similarity={options.similarity}, rl.blend_weight={options.blend_weight}"
            )

    @property
    def silent(self) -> bool:
        """Whether nobody will ever hear anybody."""
        return isinstance(self.similarity, NoSimilarity) or self.weight == 0

    @property
    def listening(self) -> Listening:
        """How paths listen through this gate."""
        if self.silent:
            return Listening(blends=self.blends)
        return Listening(self.similarity, self.weight, self.blends, keep_signals=self.learnable)
