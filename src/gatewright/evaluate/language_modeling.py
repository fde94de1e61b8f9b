"""Loss, perplexity and token accuracy of a language model over fixed batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.data import IGNORED, Units
from gatewright.data.documents import apart
from gatewright.errors import RunError

CHUNK = 4096  # positions whose float32 logits are in memory at once


@dataclass(frozen=True)
class Evaluation:
    """Numbers over all scored tokens. nll is the sum of −ln p(token | context) over them, in nats."""

    val_loss: float
    """nll / tokens."""
    val_perplexity: float
    """exp(nll / tokens): depends on the tokenizer."""
    val_perplexity_word: float | None
    """exp(nll / words): comparable between tokenizers. None where the words are not known."""
    val_perplexity_byte: float | None
    """exp(nll / bytes): comparable between tokenizers and languages."""
    val_token_accuracy: float
    """Share of tokens that were the model's first choice."""
    tokens: int
    sequences: NDArray[np.float64] = field(repr=False, compare=False)
    """nll and number of scored tokens of each sequence, ``(sequences, 2)``: what the noise of a comparison that comes
    from the choice of the text is estimated from."""
    by_source: Mapping[str, float] = field(default_factory=dict)
    """val_loss of each source of a mixture."""

    def numbers(self) -> dict[str, float | None]:
        """The ``val_…`` numbers by name, as they stand in metrics.jsonl."""
        own = {name: value for name, value in asdict(self).items() if name.startswith("val_")}
        return own | {f"val_loss_{source}": loss for source, loss in self.by_source.items()}

    def as_dict(self) -> dict[str, float | None]:
        """The numbers and the count of tokens they are over."""
        return {**self.numbers(), "tokens": self.tokens}


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    units: Units | None = None,
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Evaluation:
    """Score ``model`` on ``(input_ids, labels)`` batches, both ``(B, T)``, labels shifted and −100 where not scored.

    ``units`` says how many words and bytes the scored tokens make up. Each token counts the same, however the tokens
    are spread over batches; sums are kept in float64. Auxiliary losses are not part of it. Training mode is restored.
    """
    return summarise(score(model, batches, autocast), units)


def score(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
    separator: int | None = None,
) -> list[NDArray[np.float64]]:
    """For each batch the sequences' sum of losses, number of scored tokens, and how many of them were guessed.

    ``separator``: the token with which documents begin, where each is to be seen alone. Arrays of shape ``(B, 3)``.
    """
    device = next(model.parameters()).device
    tables = []
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for input_ids, labels in batches:
                with autocast():
                    logits = model(input_ids.to(device), **apart(input_ids, separator, device)).logits  # (B, T, V)
                flat = labels.to(device).flatten()
                losses, guessed = [], []
                for part, target in zip(logits.flatten(0, 1).split(CHUNK), flat.split(CHUNK), strict=True):
                    part = part.float()
                    losses.append(F.cross_entropy(part, target, ignore_index=IGNORED, reduction="none"))
                    guessed.append(part.argmax(-1) == target)
                # to the CPU before float64, which MPS lacks
                columns = (torch.cat(losses).cpu(), flat.cpu() != IGNORED, torch.cat(guessed).cpu())
                tables.append(torch.stack([column.double().view_as(labels).sum(1) for column in columns], dim=1))
    finally:
        model.train(training)
    return [table.numpy() for table in tables]


def summarise(tables: Sequence[NDArray[np.float64]], units: Units | None = None) -> Evaluation:
    """The numbers over all sequences that `score` looked at."""
    table = np.concatenate([np.zeros((0, 3)), *tables])
    total, tokens, guessed = table.sum(0).tolist()
    if tokens == 0:
        raise RunError("nothing to evaluate: the validation text holds no scored token")
    return Evaluation(
        val_loss=total / tokens,
        val_perplexity=_exp(total / tokens),
        val_perplexity_word=_exp(total / units.words) if units and units.words else None,
        val_perplexity_byte=_exp(total / units.bytes) if units and units.bytes else None,
        val_token_accuracy=guessed / tokens,
        tokens=int(tokens),
        sequences=table[:, :2],
    )


def mixed(evaluations: Mapping[str, tuple[Evaluation, Units]], shares: Mapping[str, float]) -> Evaluation:
    """The numbers of a mixture, in which each source counts by its share however much of its text was scored.

    With q the shares: val_loss = Σ q · val_loss of a source, and likewise the accuracy. Perplexities per word and byte
    are of a text that is mixed so: exp(val_loss / Σ q · words / tokens).
    """
    parts = {name: (shares[name], *found) for name, found in evaluations.items()}
    loss = sum(share * found.val_loss for share, found, _ in parts.values())
    tokens = sum(found.tokens for _, found, _ in parts.values())
    words = sum(share * units.words / units.tokens for share, _, units in parts.values())
    size = sum(share * units.bytes / units.tokens for share, _, units in parts.values())
    return Evaluation(
        val_loss=loss,
        val_perplexity=_exp(loss),
        val_perplexity_word=_exp(loss / words) if words else None,
        val_perplexity_byte=_exp(loss / size) if size else None,
        val_token_accuracy=sum(share * found.val_token_accuracy for share, found, _ in parts.values()),
        tokens=tokens,
        # weighed, so that their sums have the loss of the mixture as ratio
        sequences=np.concatenate(
            [found.sequences * (share * tokens / found.tokens) for share, found, _ in parts.values()]
        ),
        by_source={name: found.val_loss for name, (_, found, _) in parts.items()},
    )


def _exp(x: float) -> float:
    """exp(x), infinite where a float cannot hold it."""
    return math.exp(x) if x < 700 else (x if math.isnan(x) else math.inf)
