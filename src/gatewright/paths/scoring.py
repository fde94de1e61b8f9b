"""A rollout scored again: its inputs rebuilt, and the log-probabilities of its tokens in one parallel pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gatewright.errors import UserError
from gatewright.paths.blending import blend
from gatewright.paths.diagnostics import Diagnostics
from gatewright.paths.policies import Head, Policy, evaluating, places, policy_of
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


def token_log_probs(model: nn.Module, rollout: Rollout, *, attention: Tensor | None = None, chunk: int = 128) -> Tensor:
    """Log-probabilities ``(B, N, T)`` in float32 of the drawn tokens, each in the context it was drawn in; 0 elsewhere.

    On-policy this is ``rollout.log_probs`` to within rounding. ``attention`` is that of `rebuild_inputs`. Logits stand
    in memory for ``chunk`` positions of each row at a time, in the backward pass too. A model that does more to its
    logits than its head does, or is ours, gives them all at once. Dropout is off.
    """

    def pick(log_probs: Tensor, tokens: Tensor) -> Tensor:
        return log_probs.gather(-1, tokens[..., None])[..., 0]

    policy = policy_of(model)
    with evaluating(model):
        features, head = _features(policy, rollout, rebuild_inputs(model, rollout, attention=attention))
        tokens = rollout.tokens.flatten(0, 1)
        picked = _in_chunks(lambda x, y: pick(_log_probs(head, x), y), features, tokens, chunk)
    return picked.view(rollout.tokens.shape).masked_fill(~rollout.mask, 0.0)


def compare_again(similarity: Similarity, rollout: Rollout) -> Tensor:
    """A ``(S, B, N, N)`` from the signals of the rollout, with gradients to a learnable similarity.

    Distributions are constants to it, so this and `token_log_probs` with it are the second of two passes; the rollout
    itself was the first. Raises `UserError` if signals were not kept.
    """
    if rollout.signals is None and len(rollout.steps):
        raise UserError("this rollout has no signals: generate with keep_signals=True")
    if rollout.signals is None:
        return rollout.attention
    live = rollout.thinking[:, :, rollout.steps].permute(2, 0, 1)
    return similarity.attention(similarity.compare(rollout.signals), live)


@torch.no_grad()
def add_divergence(model: nn.Module, rollout: Rollout, diagnostics: Diagnostics, *, chunk: int = 128) -> None:
    """Feed KL(blended ‖ plain) to ``diagnostics``: the same tokens with all that was heard, and with nothing heard.

    Over the tokens drawn right after a path heard somebody. Two parallel passes, chunked as in `token_log_probs`.
    """
    policy = policy_of(model)
    hears = rollout.listened.roll(1, -1)  # token t is drawn from what was heard at t − 1
    hears[..., 0] = False
    with evaluating(model):
        blended, head = _features(policy, rollout, rebuild_inputs(model, rollout))
        silent = rebuild_inputs(model, rollout, attention=torch.zeros_like(rollout.attention))
        plain, _ = _features(policy, rollout, silent)
        for a, b, where in zip(
            blended.split(chunk, 1),
            plain.split(chunk, 1),
            (hears & rollout.mask).flatten(0, 1).split(chunk, 1),
            strict=True,
        ):
            diagnostics.add_divergence(_log_probs(head, a), _log_probs(head, b), where)


def _features(policy: Policy, rollout: Rollout, inputs: Tensor) -> tuple[Tensor, Head]:
    """What the head reads to predict each drawn token, ``(B · N, T, F)``."""
    prompt = rollout.prompt_mask.repeat_interleave(rollout.tokens.shape[1], 0)
    mask = torch.cat((prompt, rollout.mask.flatten(0, 1)), dim=1)[:, :-1]
    features, head = policy.features(inputs[:, :-1], mask, places(mask))
    return features[:, prompt.shape[1] - 1 :], head


def _log_probs(head: Head, features: Tensor) -> Tensor:
    return head(features).float().log_softmax(-1)


def _in_chunks(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, chunk: int) -> Tensor:
    """``function`` along the second dimension, ``chunk`` places at a time, and once more in the backward pass."""
    parts = zip(x.split(chunk, 1), y.split(chunk, 1), strict=True)
    return torch.cat([checkpoint(function, a, b, use_reentrant=False) for a, b in parts], dim=1)
