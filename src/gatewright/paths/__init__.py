"""Multi-path reasoning (M3PO): how the paths of one question listen to one another while they think."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.paths.adaptive import AdaptiveWeight
    from gatewright.paths.attention import attend, effective_peers, entropy, token_entropy
    from gatewright.paths.blending import blend, blend_logits
    from gatewright.paths.calibration import calibrate_temperature
    from gatewright.paths.decoding import generate
    from gatewright.paths.diagnostics import Diagnostics
    from gatewright.paths.keys import draw_keys, uniform
    from gatewright.paths.make import make_similarity
    from gatewright.paths.picture import listening_table, who_heard_whom
    from gatewright.paths.rollout import Rollout
    from gatewright.paths.scoring import (
        TokenScores,
        add_divergence,
        compare_again,
        rebuild_inputs,
        token_log_probs,
        token_scores,
    )

_HOME = {
    "AdaptiveWeight": "gatewright.paths.adaptive",
    "attend": "gatewright.paths.attention",
    "effective_peers": "gatewright.paths.attention",
    "entropy": "gatewright.paths.attention",
    "token_entropy": "gatewright.paths.attention",
    "blend": "gatewright.paths.blending",
    "blend_logits": "gatewright.paths.blending",
    "calibrate_temperature": "gatewright.paths.calibration",
    "generate": "gatewright.paths.decoding",
    "Diagnostics": "gatewright.paths.diagnostics",
    "draw_keys": "gatewright.paths.keys",
    "uniform": "gatewright.paths.keys",
    "make_similarity": "gatewright.paths.make",
    "listening_table": "gatewright.paths.picture",
    "who_heard_whom": "gatewright.paths.picture",
    "Rollout": "gatewright.paths.rollout",
    "TokenScores": "gatewright.paths.scoring",
    "add_divergence": "gatewright.paths.scoring",
    "compare_again": "gatewright.paths.scoring",
    "rebuild_inputs": "gatewright.paths.scoring",
    "token_log_probs": "gatewright.paths.scoring",
    "token_scores": "gatewright.paths.scoring",
}

__all__ = [
    "AdaptiveWeight",
    "Diagnostics",
    "Rollout",
    "TokenScores",
    "add_divergence",
    "attend",
    "blend",
    "blend_logits",
    "calibrate_temperature",
    "compare_again",
    "draw_keys",
    "effective_peers",
    "entropy",
    "generate",
    "listening_table",
    "make_similarity",
    "rebuild_inputs",
    "token_entropy",
    "token_log_probs",
    "token_scores",
    "uniform",
    "who_heard_whom",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
