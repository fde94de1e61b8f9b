"""Trying a lost trial again: how often, after which pause, and the note of it that stays in the study's folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial

RETRIES = 3
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Seconds before the first repetition, and at most; each pause is twice the one before."""


@dataclass
class _Course:
    """What one trial's attempts came to."""

    step: int = 0
    """the furthest that any attempt got"""
    lost: int = 0
    """attempts since then that came no further"""


class Retries:
    """Counts the attempts of each trial. One that came further than all before it begins the count anew.

    So a run that is pre-empted every hour goes on until it is done, and one that dies at the same step every time is
    given up after ``most`` repetitions.
    """

    def __init__(self, most: int = RETRIES) -> None:
        self.most = most
        self._courses: dict[Trial, _Course] = {}

    def pause(self, trial: Trial, step: int) -> float | None:
        """Seconds until the next attempt, after one that was lost at ``step``; None: there is to be none."""
        course = self._courses.setdefault(trial, _Course())
        if step > course.step:
            course.step, course.lost = step, 0
        course.lost += 1
        if course.lost > self.most:
            return None
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (course.lost - 1))


def note_attempt(trial: Trial, folder: StudyFolder, launcher: str, how: str, step: int) -> None:
    """Write down an attempt that was lost and is followed by another."""
    record = {"ended": datetime.now().isoformat(timespec="seconds"), "launcher": launcher, "how": how, "step": step}
    with folder.attempts_file(trial).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
