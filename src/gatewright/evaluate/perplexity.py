"""Perplexities on a text, for models whose tokenizers differ.

Every document is scored as a whole, from its first token on. The model sees a prefix token (that of the beginning of a
sequence, or the separator of documents) and then the document in windows of T tokens, T being its context or less:

    window    [prefix d₁ d₂ … d_{T-1}]      [d_T … d_{2T-1}]      …      [d_{N-T} … d_{N-1}]
    scored           d₁ d₂ … d_T            d_{T+1} … d_{2T}      …      what is left

Windows lie side by side; only the last one reaches back, so that what is left is predicted from a full window. No token
is scored twice, and the prefix is not scored. So the tokens that two models are scored on spell the same bytes, and
Σ −ln p over them, divided by the words or bytes of the text, compares the models. These are the windows of lm-eval's
``loglikelihood_rolling``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gatewright.data import IGNORED, Tokenizer, Units
from gatewright.data.tokenization import PretrainedTokenizer
from gatewright.data.tokenization.fast import FastTokenizer
from gatewright.errors import UserError
from gatewright.evaluate.language_modeling import Evaluation, evaluate
from gatewright.evaluate.target import RunTarget, Target
from gatewright.evaluate.text import EvaluationText
from gatewright.hardware.device import resolve_device
from gatewright.training.precision import Precision, resolve_precision

LONGEST = 1024
"""Tokens of the longest window, unless somebody says otherwise."""
TOKENS_AT_ONCE = 2048
"""Tokens in a batch, unless somebody says otherwise: their logits over 150,000 tokens take 1.2 GB."""

Row = tuple[Tensor, Tensor]
"""The tokens of a window, ``(T,)``, and what follows each of them, −100 where that is not scored."""


@dataclass(frozen=True)
class TextEvaluation:
    """The score of a model on a text."""

    evaluation: Evaluation
    text: EvaluationText
    unknown_tokens: int
    """Tokens that stand for what the tokenizer cannot express. They are easy to predict: such a score flatters."""
    block_size: int
    precision: str

    def as_dict(self) -> dict[str, Any]:
        """All of it, as numbers and words."""
        how = {"unknown_tokens": self.unknown_tokens, "block_size": self.block_size, "precision": self.precision}
        return {**self.evaluation.as_dict(), **how, "text": self.text.describe()}


def evaluate_text(
    target: Target,
    text: EvaluationText,
    *,
    block_size: int | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str | None = None,
) -> TextEvaluation:
    """Score ``target`` on ``text``; see this module's description for what is scored.

    - ``block_size``: tokens of a window (default: the model's context, at most 1024).
    - ``batch_size``: windows at once (default: as many as make up 2048 tokens). It does not change the result.
    - ``precision``: float32, bf16, fp16 or auto (default: that of a run's training, float32 for other models).

    Raises `UserError` before any weights are read for a window longer than the context, and for a text that a run has
    been trained on.
    """
    where = resolve_device(device)
    arithmetic = Precision(resolve_precision(precision or target.precision, where), where)
    length = target.check_block_size(block_size) or min(target.context or LONGEST, LONGEST)
    if isinstance(target, RunTarget):
        _check_unseen(target, text)
    documents = [np.asarray(ids, dtype=np.int64) for ids in target.tokenizer.encode_batch(text.documents)]
    rows = [row for ids in documents for row in windows(ids, target.prefix_id, length)]
    batches = in_batches(rows, batch_size or max(1, TOKENS_AT_ONCE // length))
    largest = max(target.prefix_id, *(int(ids.max(initial=0)) for ids in documents))
    if target.vocab_size is not None and largest >= target.vocab_size:
        raise UserError(
            f"{target.name}: its tokenizer has a token {largest}, its model only {target.vocab_size} tokens"
        )
    model = target.load(arithmetic.name).to(where)
    screen = Console(stderr=True)
    shown = track(batches, "scoring", console=screen, transient=True, disable=not screen.is_terminal)
    units = Units(tokens=sum(map(len, documents)), words=text.words, bytes=text.bytes)
    evaluation = evaluate(model, shown, units=units, autocast=arithmetic.autocast)
    unknown = unknown_id(target.tokenizer)
    lost = sum(int((ids == unknown).sum()) for ids in documents) if unknown is not None else 0
    return TextEvaluation(evaluation, text, lost, length, arithmetic.name)


def _check_unseen(target: RunTarget, text: EvaluationText) -> None:
    """Raise `UserError` if ``text`` is held out by another split of the run's own source: it may have learned it."""
    data = target.run.environment.get("data") or {}
    for learned in data.get("sources", {"": data}).values():  # those of a mixture, or the only one
        if all(learned.get(key) != text.corpus[key] for key in ("source", "content_sha256")):
            continue
        here, there = text.corpus["division"], learned.get("division") or {}
        for key in sorted(here.keys() & there.keys()):
            if here[key] != there[key]:
                name = "data.split_seed" if key == "seed" else f"data.{key}"
                raise UserError(
                    f"{target.name} was trained on this source with {name}={there[key]}, so it may have learned this "
                    f"text, held out with {name}={here[key]}; repeat the data.… keys of the run"
                )


def windows(ids: NDArray[np.int64], prefix_id: int, length: int) -> Iterator[Row]:
    """The windows of one document, in which each of its tokens is scored once."""
    stream = torch.from_numpy(np.concatenate(([prefix_id], ids)))
    for start in range(0, len(ids), length):
        stop = min(start + length, len(ids))
        begin = max(0, stop - length)
        following = stream[begin + 1 : stop + 1].clone()
        following[: start - begin] = IGNORED
        yield stream[begin:stop], following


def in_batches(rows: Sequence[Row], batch_size: int) -> list[Row]:
    """Batches ``(B, T)``, the longest windows first, each padded on the right to its own longest."""
    ordered = sorted(rows, key=lambda row: len(row[0]), reverse=True)
    batches = []
    for start in range(0, len(ordered), batch_size):
        chunk = ordered[start : start + batch_size]
        inputs = pad_sequence([tokens for tokens, _ in chunk], batch_first=True)
        labels = pad_sequence([following for _, following in chunk], batch_first=True, padding_value=IGNORED)
        batches.append((inputs, labels))
    return batches


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The token for what ``tokenizer`` has no token for; None if it can express everything."""
    if isinstance(tokenizer, PretrainedTokenizer):
        found: int | None = tokenizer.inner.unk_token_id
        return found
    if isinstance(tokenizer, FastTokenizer) and tokenizer.unk_token is not None:
        return tokenizer.id_of(tokenizer.unk_token)
    return None
