"""What a model of transformers is called in our records."""

from __future__ import annotations

from collections import Counter
from typing import Any

from transformers import PreTrainedModel

from gatewright.surgery.gated_activation import gated_activations


def pretrained_name(model: PreTrainedModel) -> str:
    """Family, sizes and gates in one word, such as ``llama-30L-9H3KV-576D-paGLU(preserve,α=learnable)``."""
    config: Any = model.config.get_text_config()
    heads, kv_heads = config.num_attention_heads, getattr(config, "num_key_value_heads", None)
    grouped = f"{kv_heads}KV" if kv_heads not in (None, heads) else ""
    words = [config.model_type, f"{config.num_hidden_layers}L", f"{heads}H{grouped}", f"{config.hidden_size}D"]
    gates = Counter(place.gated.gate.label for place in gated_activations(model))
    if gates:
        whole = len(gates) == 1 and gates.total() == config.num_hidden_layers
        words.append("+".join(gates) if whole else "+".join(f"{label}×{count}" for label, count in gates.items()))
    return "-".join(words)
