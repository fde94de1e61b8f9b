"""Several corpora, mixed by weight."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gatewright.data.corpus import TokenizedCorpus
from gatewright.data.shards import SPLITS
from gatewright.data.tokenization import Tokenizer


@dataclass(frozen=True, eq=False)
class Mixture:
    """What `prepare` gives for ``data.sources``: a corpus each, all with the same tokenizer, and their shares."""

    parts: dict[str, TokenizedCorpus]
    shares: dict[str, float]
    """Of the rows of training batches, by source; their sum is 1."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The one of all parts."""
        return next(iter(self.parts.values())).tokenizer

    def describe(self) -> dict[str, Any]:
        """What the parts say of themselves, with their shares, and sums over them.

        ``content_sha256`` is over the contents of all parts, whatever their shares.
        """
        facts = {name: part.describe() for name, part in self.parts.items()}
        common = {key: next(iter(facts.values()))[key] for key in ("tokenizer", "dtype")}
        contents = "".join(sorted(fact["content_sha256"] for fact in facts.values()))
        return {
            "source": {"name": str(self), "path": None, "subset": None},
            "content_sha256": hashlib.sha256(contents.encode()).hexdigest(),
            **common,
            **{split: _sums([fact[split] for fact in facts.values()]) for split in SPLITS},
            "sources": {
                name: {"share": self.shares[name], **{k: v for k, v in fact.items() if k not in common}}
                for name, fact in facts.items()
            },
        }

    def verify(self) -> None:
        """`TokenizedCorpus.verify` of all parts."""
        for part in self.parts.values():
            part.verify()

    def __str__(self) -> str:
        return " + ".join(f"{100 * share:.4g} % {name}" for name, share in self.shares.items())


def _sums(sizes: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Documents, tokens, bytes and words of all."""
    return {key: sum(size[key] for size in sizes) for key, value in sizes[0].items() if isinstance(value, int)}
