"""A rollout scored again: its inputs rebuilt, and the log-probabilities of its tokens in one parallel pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gatewright.errors import UserError
from gatewright.paths.attention import token_entropy
from gatewright.paths.blending import blend, blend_logits
from gatewright.paths.diagnostics import Diagnostics
from gatewright.paths.policies import Policy, evaluating, places, policy_of
from gatewright.paths.rollout import Rollout
from gatewright.paths.similarities.base import Similarity


def rebuild_inputs(model: nn.Module, rollout: Rollout, *, attention: Tensor | None = None) -> Tensor:
    """The inputs of all rows, ``(B · N, P + T, D)``: prompt, then h^0 … h^(T−1), the paths of a question contiguous.

    ``attention`` ``(S, B, N, N)`` takes the place of the stored one, such as that of `compare_again`. Differentiable by
    the model's embeddings and by ``attention``.
    """
    policy = policy_of(model)
    questions, paths, steps = rollout.tokens.shape
    prompt = policy.embed(rollout.prompt_ids).repeat_interleave(paths, 0)
    own = policy.embed(rollout.tokens.view(questions * paths, steps))
    if len(rollout.steps) == 0:
        return torch.cat((prompt, own), dim=1)
    grid = own.view(questions, paths, steps, -1)
    mixed = blend(
        grid[:, :, rollout.steps].permute(2, 0, 1, 3),  # (S, B, N, D)
        rollout.attention if attention is None else attention,
        rollout.thinking[:, :, rollout.steps].permute(2, 0, 1),
        rollout.blend_weights[:, :, rollout.steps].permute(2, 0, 1),
    )
    grid = grid.index_copy(2, rollout.steps, mixed.permute(1, 2, 0, 3))
    return torch.cat((prompt, grid.view_as(own)), dim=1)


@dataclass(frozen=True)
class TokenScores:
    """What the drawn tokens score, each in the context it was drawn in; all ``(B, N, T)`` in float32, 0 elsewhere."""

    log_probs: Tensor
    """Log-probabilities at the sampling temperature, differentiable."""
    unscaled: Tensor
    """The same at temperature 1, as constants: on-policy this is ``rollout.log_probs`` to within rounding."""
    entropy: Tensor
    """Entropy in nats of the distribution at the sampling temperature that a token was drawn from, as a constant."""


def token_scores(
    model: nn.Module, rollout: Rollout, *, attention: Tensor | None = None, temperature: float = 1.0, chunk: int = 128
) -> TokenScores:
    """Score the drawn tokens, each in the context it was drawn in, with everything that was heard.

    ``attention`` is that of `rebuild_inputs`. Logits stand in memory for ``chunk`` positions of each row at a time, in
    the backward pass too; all at once for a model of transformers that does more to them than its head does.
    Dropout is off.
    """

    def score(log_probs: Tensor, tokens: Tensor) -> Tensor:
        unscaled = log_probs.gather(-1, tokens[..., None])[..., 0]
        if temperature != 1:
            log_probs = (log_probs / temperature).log_softmax(-1)
        picked = log_probs.gather(-1, tokens[..., None])[..., 0]
        return torch.stack((picked, unscaled.detach(), token_entropy(log_probs.detach())))

    policy = policy_of(model)
    with evaluating(policy.model):
        distributions = _Distributions(policy, rollout, attention)
        tokens = rollout.tokens.flatten(0, 1)
        parts = [
            checkpoint(lambda span=span: score(distributions(span), tokens[:, span]), use_reentrant=False)
            for span in _spans(tokens.shape[1], chunk)
        ]
    scores = torch.cat(parts, dim=-1).view(3, *rollout.tokens.shape).masked_fill(~rollout.mask, 0.0)
    return TokenScores(scores[0], scores[1].detach(), scores[2].detach())


def token_log_probs(model: nn.Module, rollout: Rollout, *, attention: Tensor | None = None, chunk: int = 128) -> Tensor:
    """Log-probabilities ``(B, N, T)`` in float32 of the drawn tokens, each in the context it was drawn in; 0 elsewhere.

    On-policy this is ``rollout.log_probs`` to within rounding; see `token_scores`.
    """
    return token_scores(model, rollout, attention=attention, chunk=chunk).log_probs


def compare_again(similarity: Similarity, rollout: Rollout) -> Tensor:
    """A ``(S, B, N, N)`` from the signals of the rollout, with gradients to a learnable similarity.

    Distributions are constants to it, so this and `token_log_probs` with it are the second of two passes; the rollout
    itself was the first. Raises `UserError` if signals were not kept.
    """
    if rollout.signals is None and len(rollout.steps):
        raise UserError("this rollout has no signals: generate with keep_signals=True")
    if rollout.signals is None:
        return rollout.attention
    live = rollout.live[:, :, rollout.steps].permute(2, 0, 1)
    return similarity.attention(similarity.compare(rollout.signals), live)


@torch.no_grad()
def add_divergence(model: nn.Module, rollout: Rollout, diagnostics: Diagnostics, *, chunk: int = 128) -> None:
    """Feed KL(blended ‖ plain) to ``diagnostics``: the same tokens with all that was heard, and with nothing heard.

    Over the tokens whose distribution the last thing heard has changed. Two parallel passes, chunked as in
    `token_scores`.
    """
    policy = policy_of(model)
    hears = rollout.listened
    if rollout.blend == "embeddings":
        hears = hears.roll(1, -1)  # token t is drawn from what was heard at t − 1
        hears[..., 0] = False
    hears = (hears & rollout.mask).flatten(0, 1)
    with evaluating(policy.model):
        blended = _Distributions(policy, rollout, None)
        plain = _Distributions(policy, rollout, torch.zeros_like(rollout.attention))
        for span in _spans(hears.shape[1], chunk):
            diagnostics.add_divergence(blended(span), plain(span), hears[:, span])


class _Distributions:
    """Log-probabilities ``(B · N, t, V)`` in float32 that the drawn tokens of a span of steps were drawn from."""

    def __init__(self, policy: Policy, rollout: Rollout, attention: Tensor | None) -> None:
        self.rollout = rollout
        self.attention = rollout.attention if attention is None else attention
        heard = self.attention if rollout.blend == "embeddings" else torch.zeros_like(rollout.attention)
        inputs = rebuild_inputs(policy.model, rollout, attention=heard)
        prompt = rollout.prompt_mask.repeat_interleave(rollout.tokens.shape[1], 0)
        mask = torch.cat((prompt, rollout.mask.flatten(0, 1)), dim=1)[:, :-1]
        features, self.head = policy.features(inputs[:, :-1], mask, places(mask))
        self.features = features[:, prompt.shape[1] - 1 :]

    def __call__(self, span: slice) -> Tensor:
        logits = self.head(self.features[:, span]).float()
        if self.rollout.blend == "logits":
            logits = self._blended(logits, span)
        return logits.log_softmax(-1)

    def _blended(self, logits: Tensor, span: slice) -> Tensor:
        """The logits of a span with those of its steps at which anybody listened blended."""
        rollout = self.rollout
        among = (rollout.steps >= span.start) & (rollout.steps < span.stop)
        steps = rollout.steps[among]
        grid = logits.view(*rollout.tokens.shape[:2], *logits.shape[1:])  # (B, N, t, V)
        mixed = blend_logits(
            grid[:, :, steps - span.start].permute(2, 0, 1, 3),
            self.attention[among],
            rollout.live[:, :, steps].permute(2, 0, 1),
            rollout.blend_weights[:, :, steps].permute(2, 0, 1),
        )
        return grid.index_copy(2, steps - span.start, mixed.permute(1, 2, 0, 3)).view_as(logits)


def _spans(steps: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, steps)) for start in range(0, steps, chunk)]
