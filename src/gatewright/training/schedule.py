"""Learning-rate schedules as pure functions of the step, so that a resumed run needs no schedule state."""

from __future__ import annotations

import math
from collections.abc import Callable

from gatewright.config import TrainConfig


def warmup_steps(config: TrainConfig) -> int:
    """The warm-up's length: as configured, or a tenth of the steps and at most 1000."""
    if config.warmup_steps is not None:
        return config.warmup_steps
    return min(config.max_steps // 10, 1000)


def learning_rate_multiplier(config: TrainConfig, step: int) -> float:
    """What the peak learning rate is multiplied with in the update number ``step`` (0, …, max_steps − 1).

    Over the W steps of the warm-up it is ``(step + 1) / W``, reaching 1 in the last of them; after that the schedule's
    own function decides, of the step counted from the end of the warm-up.
    """
    warmup = warmup_steps(config)
    if step < warmup:
        return (step + 1) / warmup
    return SCHEDULES[config.schedule](step - warmup, config.max_steps - warmup, config)


def cosine(step: int, steps: int, config: TrainConfig) -> float:
    """``m + (1 − m)(1 + cos πt) / 2`` with t from 0 to 1 over ``steps`` and m = min_lr_ratio, reached in the last step.

    Loshchilov & Hutter, 2017 (arXiv:1608.03983), without restarts.
    """
    progress = step / max(steps - 1, 1)
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * (1 + math.cos(math.pi * progress)) / 2


def wsd(step: int, steps: int, config: TrainConfig) -> float:
    """Warm-up, stable, decay: 1, then in the last ``decay_fraction`` of all steps linearly down to min_lr_ratio.

    Hu et al., 2024 (MiniCPM, arXiv:2404.06395); the linear decay is one of those compared by Hägele et al., 2024
    (arXiv:2405.18392). The decay never reaches into the warm-up.
    """
    decay = min(round(config.decay_fraction * config.max_steps), steps)
    left = steps - 1 - step
    if left >= decay:
        return 1.0
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * left / decay


def constant(step: int, steps: int, config: TrainConfig) -> float:
    """1 at every step after the warm-up; min_lr_ratio plays no part."""
    return 1.0


SCHEDULES: dict[str, Callable[[int, int, TrainConfig], float]] = {"cosine": cosine, "wsd": wsd, "constant": constant}
