"""The families of models whose feed-forward blocks we know: one entry a family."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Where a feed-forward block keeps its parts, as attribute names (dotted where they lie deeper).

    - ``into``: the projection whose output goes into the activation, and nowhere else.
    - ``activation``: the activation, a module or a function.
    - ``out``: the projection back to the model's width.
    - ``value``: the other projection of a gated block, ``out(value(x) * activation(into(x)))``; None in a plain block,
      ``out(activation(into(x)))``.
    """

    into: str
    activation: str
    out: str
    value: str | None = None


_SWIGLU = Layout("gate_proj", "act_fn", "down_proj", value="up_proj")
_BART = Layout("fc1", "activation_fn", "fc2")

FAMILIES: dict[str, dict[str, Layout]] = {
    "gpt2": {"GPT2MLP": Layout("c_fc", "act", "c_proj")},
    "gpt_neox": {"GPTNeoXMLP": Layout("dense_h_to_4h", "act", "dense_4h_to_h")},
    "llama": {"LlamaMLP": _SWIGLU},
    "mistral": {"MistralMLP": _SWIGLU},
    "qwen2": {"Qwen2MLP": _SWIGLU},
    "qwen3": {"Qwen3MLP": _SWIGLU},
    "gemma": {"GemmaMLP": _SWIGLU},
    "gemma2": {"Gemma2MLP": _SWIGLU},
    "gemma3": {"Gemma3MLP": _SWIGLU},
    "bert": {"BertLayer": Layout("intermediate.dense", "intermediate.intermediate_act_fn", "output.dense")},
    "vit": {"ViTMLP": Layout("fc1", "activation_fn", "fc2")},
    "t5": {
        "T5DenseActDense": Layout("wi", "act", "wo"),
        "T5DenseGatedActDense": Layout("wi_0", "act", "wo", value="wi_1"),
    },
    "bart": {"BartEncoderLayer": _BART, "BartDecoderLayer": _BART},
}
"""Each family's blocks: the class (or a base class) of the module that holds the parts, and where they are in it."""
