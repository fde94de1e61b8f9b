"""Mathematical expressions, compared by Math-Verify (https://github.com/huggingface/Math-Verify)."""

from __future__ import annotations

import logging
import re
from typing import Any

from gatewright.errors import UserError
from gatewright.rl.rewards.base import AnswerReward

_WITHOUT_MEANING = re.compile(
    r"\\text\{([^{}]*)\}|\$|\\[,;!]|\\(?:left|right)(?![a-zA-Z])"
    r"|(?<![0-9])\s+|\s+(?![0-9])"  # not the space in 1 1/2
)
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")


class MathReward(AnswerReward):
    r"""1 if the text after the delimiter means what the answer means: ``\frac12``, ``0.5`` and ``1/2`` are the same.

    Text without words and without ``$`` or ``\boxed`` is taken as LaTeX. What is written alike is right without being
    understood. Understanding can take for ever, so it happens in a process with a time limit.
    """

    def __init__(self, delimiter: str, time_limit: float = 5.0) -> None:
        from gatewright.data.extras import import_extra  # brings torch along, which the scoring process does without

        super().__init__(delimiter)
        import_extra("math_verify", "rl", "the reward for mathematics")
        if time_limit <= 0:
            raise UserError(f"time_limit={time_limit}: must be above 0 seconds")
        self.time_limit = time_limit

    def warm_up(self) -> None:
        logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns about its own time limit being off
        self.score(f"{self.delimiter} x+1", "1+x")

    def read(self, text: str) -> str | None:
        """The text without what does not change it; equal meanings may be written differently."""
        return _WITHOUT_MEANING.sub(r"\1", text).rstrip(".") or None

    def score(self, completion: str, answer: str) -> float:
        import math_verify

        given = self.extract(completion)
        if given is None:
            return 0.0
        if given == self.read(answer):
            return 1.0
        _, _, text = completion.partition(self.delimiter)
        return float(math_verify.verify(_parsed(answer), _parsed(text), timeout_seconds=None, raise_on_error=True))


def _parsed(text: str) -> list[Any]:
    import math_verify

    text = text.strip()
    if not _WORD.search(text) and not any(mark in text for mark in ("$", r"\boxed", r"\(", r"\[")):
        text = f"${text}$"
    return math_verify.parse(text, parsing_timeout=None, raise_on_error=True)
