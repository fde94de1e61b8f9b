"""Names of architectures, read off the built model."""

from __future__ import annotations

import pytest

from gatewright import architecture_name, build, load_config

SMALL = ["model.n_layer=2", "model.n_head=4", "model.n_embd=64", "model.block_size=32", "model.vocab_size=97"]


@pytest.mark.parametrize(
    ("preset", "name"),
    [
        ("gpt2", "12L-12H-768D-AbsPos-LN-GELU-PreNorm"),
        ("gpt2_postnorm", "12L-12H-768D-AbsPos-LN-NB-GELU-PostNorm"),
        ("llama", "12L-12H-768D-RoPE-RMS-SwiGLU-PreNorm"),
        ("llama3", "12L-12H4KV-768D-RoPE-RMS-SwiGLU-PreNorm"),
        ("qwen3", "12L-12H4KV-768D-RoPE-RMS-QKNorm-SwiGLU-PreNorm"),
        ("team", "12L-12H-768D-RoPE-RMS-GELU-PreNorm"),
        ("hybrid", "12L-12H-768D-RoPE-RMS-GELU-PreNorm"),
        ("custom", "12L-12H-768D-RoPE-RMS-SwiGLU-PreNorm"),
        ("legacy", "12L-12H-768D-AbsPos-LN-NB-GELU-PreNorm"),
        ("small", "4L-4H-128D-RoPE-RMS-GELU-PreNorm"),
    ],
)
def test_presets(preset: str, name: str) -> None:
    assert architecture_name(load_config([f"model={preset}"]).model) == name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["model=gpt2", "model.position=rope"], "2L-4H-64D-RoPE-LN-GELU-PreNorm"),
        (["model=llama", "model.position=alibi"], "2L-4H-64D-ALiBi-RMS-SwiGLU-PreNorm"),
        (["model.norm_position=sandwich", "model.norm=dyt"], "2L-4H-64D-AbsPos-DyT-GELU-Sandwich"),
        (["model.position=none", "model.norm=none", "model.activation=relu2"], "2L-4H-64D-NoPos-NoNorm-ReLU2-PreNorm"),
        (["model.kv_heads=1"], "2L-4H1KV-64D-AbsPos-LN-GELU-PreNorm"),
        (["model.attention={name: sdpa, window: 8}"], "2L-4H-64D-AbsPos-LN-W8-GELU-PreNorm"),
        (["model.attention={name: manual, output_gate: head}"], "2L-4H-64D-AbsPos-LN-HeadGate-GELU-PreNorm"),
        (["model.feedforward=pagelu", "model.alpha=static_0.5"], "2L-4H-64D-AbsPos-LN-paGELU(α=0.5)-PreNorm"),
        (
            ["model.feedforward=paglu", "model.alpha=scheduler_cosine", "model.gate.form=preserve"],
            "2L-4H-64D-AbsPos-LN-paGLU(preserve,α=cosine:0-1)-PreNorm",
        ),
        (
            ["model.feedforward=pagelu", "model.gate={form: self, norm: after}", "model.alpha=0"],
            "2L-4H-64D-AbsPos-LN-paGELU(self_preserve,GateNorm-after,α=0)-PreNorm",
        ),
        (
            ["model.attention={name: sdpa, window: 8, qk_norm: rmsnorm, output_gate: element}"],
            "2L-4H-64D-AbsPos-LN-W8-QKNorm-ElementGate-GELU-PreNorm",
        ),
        (["model.position=[rope, none]"], "2L-4H-64D-RoPE+NoPos-LN-GELU-PreNorm"),
        (["model.attention=[{name: sdpa, window: 8}, sdpa]"], "2L-4H-64D-AbsPos-LN-W8+Full-GELU-PreNorm"),
        (["model.feedforward=[standard, swiglu]"], "2L-4H-64D-AbsPos-LN-GELU+SwiGLU-PreNorm"),
        (
            ["model.feedforward=paglu", "model.alpha=[0.2, learnable]"],
            "2L-4H-64D-AbsPos-LN-paGLU(α=0.2)+paGLU(α=learnable)-PreNorm",
        ),
    ],
)
def test_overrides_show_in_the_name(overrides: list[str], name: str) -> None:
    assert architecture_name(load_config([*SMALL, *overrides]).model) == name


def test_the_name_comes_from_the_model_and_not_from_the_request() -> None:
    model = build(load_config(["model=llama", *SMALL]).model)
    assert architecture_name(model) == "2L-4H-64D-RoPE-RMS-SwiGLU-PreNorm"
    del model.blocks[1]
    assert architecture_name(model).startswith("1L-")
