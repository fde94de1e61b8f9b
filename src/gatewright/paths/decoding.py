"""Paths of many questions, generated in lock-step: each may listen to those of its own question while it thinks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewright.errors import RunError, UserError, unknown
from gatewright.paths.adaptive import AdaptiveWeight
from gatewright.paths.delimiter import Spelling, just_ended, spellings
from gatewright.paths.diagnostics import Diagnostics
from gatewright.paths.drawing import check_sampling, draw_tokens
from gatewright.paths.gate import Gate, Heard, make_gate, make_probe
from gatewright.paths.keys import draw_keys
from gatewright.paths.policies import Policy, evaluating, places, policy_of
from gatewright.paths.rollout import Blend, Rollout
from gatewright.paths.similarities.base import Similarity
from gatewright.paths.text import text_of


@torch.no_grad()
def generate(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str | Sequence[int]],
    *,
    paths: int = 8,
    similarity: str | Similarity = "cosine",
    blend_weight: float | AdaptiveWeight = 0.1,
    blends: Blend = "embeddings",
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 256,
    delimiter: str | Sequence[Sequence[int]] | None = None,
    end_ids: Sequence[int] | None = None,
    seed: int = 0,
    question_ids: Sequence[int] | None = None,
    path_ids: Sequence[int] | None = None,
    keep_signals: bool = False,
    diagnostics: Diagnostics | None = None,
    probe: str | Similarity | None = None,
) -> Rollout:
    """Continue each prompt along ``paths`` paths that listen to one another while they think (M3PO, arXiv:2512.01485).

    ``model`` is a `LanguageModel` or any causal language model of transformers, ``tokenizer`` is of either kind too; it
    may be None if prompts and delimiter are given as token ids. ``temperature`` (0: greedy) and ``top_p`` are those of
    sampling; that of listening belongs to the similarity, see `make_similarity`.

    A path thinks until it has drawn the ``delimiter``, all of its tokens, or has ended; without one until it has ended.
    It ends with one of ``end_ids``, which are the tokenizer's and the model's if left out. A draw depends on ``seed``,
    question, path, step, and the distribution drawn from; ``question_ids`` and ``path_ids`` number them, by their order
    if left out. With λ = 0 or `none` the gate is not there: this is plain sampling.

    ``blends="logits"`` blends, in place of next inputs, the logits from which a token is drawn (`blend_logits`).

    ``keep_signals`` keeps what a learnable similarity compares. ``diagnostics`` take in every step; where no gate is
    there they have the statistics of a ``probe``, a similarity that is computed and that nobody hears. Dropout is off.
    Raises `UserError` before any work for arguments that cannot be, `RunError` where the model's output is no number.
    """
    policy = policy_of(model)
    check_sampling(temperature, top_p)
    for name, number in (("paths", paths), ("max_new_tokens", max_new_tokens)):
        if number < 1:
            raise UserError(f"{name}={number}: must be at least 1")
    ids, mask = _left_padded(_prompt_ids(prompts, tokenizer), policy, max_new_tokens)
    questions = _numbers("question_ids", question_ids, len(prompts), policy.device)
    numbers = _numbers("path_ids", path_ids, paths, policy.device)
    delimiters = _delimiters(delimiter, tokenizer)
    if end_ids is None:
        end_ids = sorted(policy.end_ids | (text_of(tokenizer).end_ids if tokenizer is not None else set()))
    ends = torch.tensor(list(end_ids), dtype=torch.long, device=policy.device)
    if blends not in get_args(Blend):
        raise unknown("blends", blends, get_args(Blend))
    gate = make_gate(policy, similarity, blend_weight, keep_signals=keep_signals, blends=blends)
    if gate is None and diagnostics is not None and probe is not None:
        gate = make_probe(policy, probe)
    journal = _Journal(len(prompts), paths, max_new_tokens, policy.device, blends)
    with evaluating(policy.model):
        cache = policy.new_cache(ids.shape[1] + max_new_tokens)
        logits = policy.next_logits(policy.embed(ids), mask, places(mask), cache)
        rows = torch.arange(len(prompts) * paths, device=policy.device)  # of the cache; question · N + path
        logits, context = logits[rows // paths], mask[rows // paths]
        policy.keep_rows(cache, rows // paths)
        for step in range(max_new_tokens):
            log_probs = logits.float().log_softmax(-1)
            if not log_probs.amax(-1).isfinite().all():
                raise RunError(f"the model's next-token distribution is not a number at step {step}")
            keys = draw_keys(seed, questions[:, None], numbers, step)
            if blends == "logits":
                logits = logits.float()
                live = journal.thinks.view(journal.grid).clone()
                heard = _listen(gate, journal, step, rows, log_probs, logits, keys)
                log_probs = logits.log_softmax(-1)
            drawn = draw_tokens(log_probs, keys.flatten()[rows], temperature=temperature, top_p=top_p)
            journal.draw(step, rows, drawn, log_probs, ends, delimiters)
            if blends == "logits":
                _observe(diagnostics, journal, step, live, heard)
            if step + 1 == max_new_tokens or not journal.alive.any():
                break
            inputs = policy.embed(journal.tokens[rows, step][:, None])[:, 0]
            if blends == "embeddings":
                heard = _listen(gate, journal, step, rows, log_probs, inputs, keys)
                _observe(diagnostics, journal, step, journal.thinks.view(journal.grid), heard)
            kept = journal.alive[rows].nonzero()[:, 0]
            if 2 * len(kept) <= len(rows):  # most have ended: let them go
                rows, context, inputs = rows[kept], context[kept], inputs[kept]
                policy.keep_rows(cache, kept)
            context = F.pad(context, (0, 1), value=True)
            logits = policy.next_logits(inputs[:, None], context, places(context)[:, -1:], cache)
    return journal.rollout(ids, mask)


class _Journal:
    """The state of all R = B · N paths, and what a rollout keeps of it."""

    def __init__(self, questions: int, paths: int, steps: int, device: torch.device, blends: Blend) -> None:
        self.grid, self.blends = (questions, paths), blends
        rows = questions * paths
        self.tokens = torch.zeros(rows, steps, dtype=torch.long, device=device)
        self.log_probs = torch.zeros(rows, steps, device=device)
        self.thinking = torch.zeros(rows, steps, dtype=torch.bool, device=device)
        self.weights = torch.zeros(rows, steps, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.alive = torch.ones(rows, dtype=torch.bool, device=device)
        self.thinks = self.alive.clone()
        self.steps: list[int] = []
        self.attention: list[Tensor] = []
        self.signals: list[Tensor] = []

    def draw(
        self, step: int, rows: Tensor, drawn: Tensor, log_probs: Tensor, ends: Tensor, delimiters: list[Spelling]
    ) -> None:
        """Take in the tokens that ``rows`` have drawn; those of paths that have ended do not count."""
        alive = self.alive[rows]
        self.tokens[rows, step] = drawn.masked_fill(~alive, 0)
        self.log_probs[rows, step] = log_probs.gather(-1, drawn[:, None])[:, 0].masked_fill(~alive, 0.0)
        self.lengths += self.alive
        self.alive &= ~torch.isin(self.tokens[:, step], ends)
        self.thinks &= self.alive & ~just_ended(self.tokens[:, : step + 1], delimiters)
        self.thinking[:, step] = self.thinks

    def hear(self, step: int, listening: Tensor, heard: Heard) -> None:
        """Take in what the questions ``listening`` ``(B,)`` heard; nothing, if nobody did."""
        if not heard.weights.any():
            return
        self.steps.append(step)
        self.attention.append(_spread(heard.attention, listening))
        self.weights.view(*self.grid, -1)[listening, :, step] = heard.weights
        if heard.signal is not None:
            self.signals.append(_spread(heard.signal, listening))

    def rollout(self, prompt_ids: Tensor, prompt_mask: Tensor) -> Rollout:
        """What is kept."""
        lengths = self.lengths.view(self.grid)
        end = int(lengths.max())
        attention = (
            torch.stack(self.attention) if self.attention else self.log_probs.new_zeros(0, *self.grid, self.grid[1])
        )
        return Rollout(
            prompt_ids=prompt_ids,
            prompt_mask=prompt_mask,
            tokens=self.tokens[:, :end].view(*self.grid, end),
            lengths=lengths,
            ended=~self.alive.view(self.grid),
            log_probs=self.log_probs[:, :end].view(*self.grid, end),
            thinking=self.thinking[:, :end].view(*self.grid, end),
            blend_weights=self.weights[:, :end].view(*self.grid, end),
            steps=torch.tensor(self.steps, dtype=torch.long, device=lengths.device),
            attention=attention,
            signals=torch.stack(self.signals) if self.signals else None,
            blend=self.blends,
        )


def _listen(
    gate: Gate | None, journal: _Journal, step: int, rows: Tensor, log_probs: Tensor, own: Tensor, keys: Tensor
) -> tuple[Heard, Tensor] | None:
    """Let paths listen, in the questions where two or more think: what they hear goes into ``own`` ``(r, …)``.

    What was heard, and by which questions ``(B,)``; None if by nobody.
    """
    live = journal.thinks.view(journal.grid)
    questions = live.sum(-1) > 1
    if gate is None or not questions.any():
        return None
    place = torch.zeros(live.numel(), dtype=torch.long, device=rows.device)  # those let go: any row, never heard
    place[rows] = torch.arange(len(rows), device=rows.device)
    place = place.view(journal.grid)[questions]
    heard = gate(log_probs[place], own[place], live[questions], keys[questions])
    own[place[live[questions]]] = heard.blended[live[questions]]
    journal.hear(step, questions, heard)
    return heard, questions


def _observe(
    diagnostics: Diagnostics | None, journal: _Journal, step: int, live: Tensor, heard: tuple[Heard, Tensor] | None
) -> None:
    """Feed the diagnostics with one step."""
    if diagnostics is None:
        return
    tokens = journal.tokens[:, step].view(journal.grid)
    if heard is None:
        nothing = torch.zeros(*live.shape, live.shape[1], device=live.device)
        diagnostics.add(nothing, nothing, live, tokens)
    else:
        found, questions = heard
        weights = _spread(found.weights, questions)
        diagnostics.add(
            _spread(found.similarity, questions), _spread(found.attention, questions), live, tokens, weights > 0
        )


def _spread(values: Tensor, questions: Tensor) -> Tensor:
    """``values`` ``(b, …)`` of the chosen questions among all B, the others at 0."""
    whole = values.new_zeros(len(questions), *values.shape[1:])
    whole[questions] = values
    return whole


def _prompt_ids(prompts: Sequence[str | Sequence[int]], tokenizer: Any) -> list[list[int]]:
    if not prompts or isinstance(prompts, str):
        raise UserError("prompts: give a list of one or more prompts")
    found = [text_of(tokenizer).prompt(prompt) if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    if not all(found):
        raise UserError(f"prompt {next(i for i, ids in enumerate(found) if not ids)} is empty")
    return found


def _left_padded(prompts: list[list[int]], policy: Policy, new: int) -> tuple[Tensor, Tensor]:
    """Ids and mask, ``(B, P)``."""
    longest = max(map(len, prompts))
    if policy.room is not None and longest + new > policy.room:
        raise UserError(
            f"a prompt of {longest} tokens and max_new_tokens={new} exceed the model's {policy.room} positions"
        )
    unknown = next((token for ids in prompts for token in ids if not 0 <= token < policy.vocab_size), None)
    if unknown is not None:
        raise UserError(f"token {unknown} of a prompt is not among the model's {policy.vocab_size}")
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=policy.device)
    mask = torch.tensor([[False] * (longest - len(p)) + [True] * len(p) for p in prompts], device=policy.device)
    return ids, mask


def _delimiters(delimiter: str | Sequence[Sequence[int]] | None, tokenizer: Any) -> list[Spelling]:
    if delimiter is None:
        return []
    if isinstance(delimiter, str):
        text = text_of(tokenizer)
        return spellings(delimiter, text.piece, text.decode)
    if not delimiter or not all(delimiter):
        raise UserError("delimiter: an empty sequence of tokens ends nothing")
    return [tuple(spelling) for spelling in delimiter]


def _numbers(name: str, given: Sequence[int] | None, count: int, device: torch.device) -> Tensor:
    if given is not None and len(given) != count:
        raise UserError(f"{name}: {len(given)} numbers for {count}")
    return torch.tensor(list(range(count) if given is None else given), dtype=torch.long, device=device)
