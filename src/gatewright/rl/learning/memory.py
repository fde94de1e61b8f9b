"""What generation and the learning pass take of memory, estimated before anything is allocated."""

from __future__ import annotations

from gatewright.config import Config
from gatewright.config.rl import RLConfig

CHUNK = 128
"""Positions of each row whose logits stand in memory at a time."""


def rollout_memory(config: Config, options: RLConfig, *, prompt: int, new: int, step_questions: int) -> dict[str, int]:
    """Bytes by use, beside weights, gradients and optimizer, for prompts of ``prompt`` and ``new`` new tokens.

    - ``cache``: keys and values of all paths generated at a time;
    - ``distributions``: the next-token distributions of a step, in float32 and, to draw from, float64;
    - ``activations``: 34 bytes a token, layer and channel in half precision (Korthikanti et al., 2022,
      arXiv:2205.05198, with attention that keeps no matrix of weights), of a micro-batch;
    - ``logits``: a chunk of the micro-batch's logits in float32, with their softmax and gradient.
    """
    model, low = config.model, config.train.precision in ("bf16", "fp16")
    size = 2 if low else 4
    kv_heads = model.kv_heads or model.n_head
    head_dim = model.head_dim or model.n_embd // model.n_head
    generated = min(options.rollout_questions or step_questions, step_questions) * options.paths
    learned = config.train.batch_size * options.paths
    return {
        "cache": generated * (prompt + new) * model.n_layer * 2 * kv_heads * head_dim * size,
        "distributions": generated * model.vocab_size * (3 * 4 + 2 * 8),
        "activations": learned * (prompt + new) * model.n_layer * model.n_embd * 34 * size // 2,
        "logits": learned * min(CHUNK, new) * model.vocab_size * 3 * 4,
    }
