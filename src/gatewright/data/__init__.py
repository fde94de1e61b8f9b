"""Text to batches: corpora, tokenizers, prepared tokens, samplers.

`prepare` turns a `DataConfig` into memory-mapped tokens, once; `BlockSampler` makes training batches of them that are a
pure function of seed and step; `evaluation_batches` and `text_units` serve evaluation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.data.corpora import Corpus, Document, list_corpora, open_corpus, register_corpus
    from gatewright.data.corpus import TokenizedCorpus
    from gatewright.data.evaluation import IGNORED, evaluation_batches
    from gatewright.data.mixture import Mixture
    from gatewright.data.mixture_sampler import MixtureSampler
    from gatewright.data.padding import PaddedBatch, pad_batch
    from gatewright.data.prepared import prepare
    from gatewright.data.sampler import BlockSampler
    from gatewright.data.token_array import TokenArray
    from gatewright.data.tokenization import CharTokenizer, PretrainedTokenizer, Tokenizer, load_tokenizer
    from gatewright.data.units import Units, text_units

_HOME = {  # processes that only tokenize need no torch
    "IGNORED": "gatewright.data.evaluation",
    "BlockSampler": "gatewright.data.sampler",
    "CharTokenizer": "gatewright.data.tokenization",
    "Corpus": "gatewright.data.corpora",
    "Document": "gatewright.data.corpora",
    "Mixture": "gatewright.data.mixture",
    "MixtureSampler": "gatewright.data.mixture_sampler",
    "PaddedBatch": "gatewright.data.padding",
    "PretrainedTokenizer": "gatewright.data.tokenization",
    "TokenArray": "gatewright.data.token_array",
    "TokenizedCorpus": "gatewright.data.corpus",
    "Tokenizer": "gatewright.data.tokenization",
    "Units": "gatewright.data.units",
    "evaluation_batches": "gatewright.data.evaluation",
    "list_corpora": "gatewright.data.corpora",
    "load_tokenizer": "gatewright.data.tokenization",
    "open_corpus": "gatewright.data.corpora",
    "pad_batch": "gatewright.data.padding",
    "prepare": "gatewright.data.prepared",
    "register_corpus": "gatewright.data.corpora",
    "text_units": "gatewright.data.units",
}

__all__ = [
    "IGNORED",
    "BlockSampler",
    "CharTokenizer",
    "Corpus",
    "Document",
    "Mixture",
    "MixtureSampler",
    "PaddedBatch",
    "PretrainedTokenizer",
    "TokenArray",
    "TokenizedCorpus",
    "Tokenizer",
    "Units",
    "evaluation_batches",
    "list_corpora",
    "load_tokenizer",
    "open_corpus",
    "pad_batch",
    "prepare",
    "register_corpus",
    "text_units",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
