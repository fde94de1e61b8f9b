"""Short answers in words, compared after TriviaQA's normalisation."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence

from gatewright.rl.rewards.base import AnswerReward

_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´“”", " "))


class TextReward(AnswerReward):
    """1 if the first line after the delimiter is the answer or one of its ``aliases``, normalised (`normalise`)."""

    def read(self, text: str) -> str | None:
        lines = [normalise(line) for line in text.splitlines()]
        return next((line for line in lines if line), None)

    def score(self, completion: str, answer: str, aliases: Sequence[str] = ()) -> float:
        given = self.extract(completion)
        return float(given is not None and given in {normalise(known) for known in (answer, *aliases)})


def normalise(text: str) -> str:
    """Lower case without articles, with punctuation and white space as single spaces."""
    plain = unicodedata.normalize("NFKC", text).lower().translate(_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())
