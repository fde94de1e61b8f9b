"""The validation text of a run: of one corpus, or of each source of a mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from gatewright.data import Mixture, TokenizedCorpus, Units, evaluation_batches, text_units
from gatewright.evaluate.language_modeling import Evaluation, mixed, summarise

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Passage:
    """The part of one corpus that is scored."""

    batches: list[Batch]
    units: Units


@dataclass(frozen=True)
class HeldOut:
    """What is scored at every evaluation."""

    passages: Mapping[str, Passage]
    """By source."""
    shares: Mapping[str, float]
    """What each source counts in the loss; empty where the text is not a mixture."""

    @property
    def batches(self) -> list[Batch]:
        """Those of all sources, in order."""
        return [batch for passage in self.passages.values() for batch in passage.batches]

    @property
    def units(self) -> Units:
        """Over all that is scored."""
        all_ = [passage.units for passage in self.passages.values()]
        return Units(sum(u.tokens for u in all_), sum(u.words for u in all_), sum(u.bytes for u in all_))

    def evaluation(self, tables: Sequence[NDArray[Any]]) -> Evaluation:
        """The numbers, of what `gatewright.evaluate.language_modeling.score` gave for each of `batches`."""
        rest, found = list(tables), {}
        for name, passage in self.passages.items():
            own, rest = rest[: len(passage.batches)], rest[len(passage.batches) :]
            found[name] = summarise(own, passage.units), passage.units
        return mixed(found, self.shares) if self.shares else found[""][0]


def held_out(data: TokenizedCorpus | Mixture, block_size: int, batch_size: int, max_tokens: int) -> HeldOut:
    """The first ``max_tokens`` targets of the validation text; of a mixture as many of each source.

    So they are the same whatever the shares are, and losses of one source may be compared between mixtures.
    """

    def passage(corpus: TokenizedCorpus, tokens: int) -> Passage:
        batches = evaluation_batches(corpus.validation, block_size, batch_size, tokens)
        return Passage(batches, text_units(corpus, batches))

    if not isinstance(data, Mixture):
        return HeldOut({"": passage(data, max_tokens)}, {})
    each = max(1, max_tokens // len(data.parts))
    return HeldOut({name: passage(part, each) for name, part in data.parts.items()}, data.shares)
