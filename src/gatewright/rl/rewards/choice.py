"""The letter of a multiple-choice answer."""

from __future__ import annotations

import re

from gatewright.rl.rewards.base import AnswerReward

_LABEL = re.compile(r"\s*[*(\[]*([A-Z])[*\])]*\s*(?:[.:)\n]|$)")
_ARTICLE = r"(?!\s+(?!(?:is|was|or|and)\b)[a-z])"
_LETTER = re.compile(rf"(?<![\w'’])(?:A{_ARTICLE}|[B-HJ-Z])(?![\w'’])")


class ChoiceReward(AnswerReward):
    """1 if the text after the delimiter names the right letter and no other.

    ``B``, ``b``, ``(B)``, ``**B**``, ``B) text``, ``The answer is B.`` are all B. A label at the very beginning wins
    over letters further on; otherwise text that names two letters, or none, has no answer.
    """

    def read(self, text: str) -> str | None:
        if re.fullmatch(r"\W*[a-z]\W*", text):
            text = text.upper()
        label = _LABEL.match(text)
        letters = {label[1]} if label else set(_LETTER.findall(text))
        return letters.pop() if len(letters) == 1 else None

    def score(self, completion: str, answer: str) -> float:
        return float(self.extract(completion) == answer)
