"""The block of reinforcement learning, as users write it."""

from __future__ import annotations

from typing import Any

import pytest

from gatewright.config import from_yaml, load_config, to_yaml
from gatewright.config.rl import LoRAConfig
from gatewright.errors import UserError


def test_a_recipe_sets_several_blocks_and_overrides_win() -> None:
    config = load_config(
        ["rl=grpo", "task=chain_sum", "task.terms=3", "rl.steps=7", "rl.similarity=jsd", "rl.lora.r=4"]
    )
    assert config.rl is not None
    assert (config.train.max_steps, config.train.learning_rate, config.train.beta2) == (7, 1e-4, 0.99)
    assert (config.rl.paths, config.rl.similarity, config.rl.kl_weight) == (8, "jsd", 0.0)
    assert config.rl.lora == LoRAConfig(r=4)
    assert config.task == {"name": "chain_sum", "terms": 3}
    assert from_yaml(to_yaml(config)) == config


def test_the_paper() -> None:
    from gatewright.config.compose import _presets

    values = _presets({"rl": "m3po_paper"})["rl"]
    train, rl = values["train"], values["rl"]
    assert train["batch_size"] * train["grad_accumulation"] * rl["paths"] == 64 * 4
    assert train["learning_rate"] == 5e-6
    assert (train["beta1"], train["beta2"], train["weight_decay"], train["grad_clip"]) == (0.9, 0.99, 0.1, 0.1)
    assert (rl["blend_weight"], rl["temperature"], rl["kl_weight"], rl["max_new_tokens"]) == (0.1, 0.1, 0.005, 1024)
    assert rl["lora"] == {"r": 32, "alpha": 64}


def test_without_a_recipe_there_is_no_reinforcement_learning() -> None:
    assert load_config(["scale=reasoner", "task=gcd"]).rl is None


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("rl.path=8", "unknown key 'rl.path'; did you mean 'rl.paths'?"),
        ("rl.paths=1", "rl.paths=1: advantages compare the paths"),
        ("rl.blend_weight=1.5", r"rl.blend_weight=1.5: must be in \[0, 1\]"),
        ("rl.blend_weight=much", "rl.blend_weight='much': expected float"),
        (
            "rl.blend_weight={maximun: 0.2}",
            "unknown key 'rl.blend_weight.maximun'; did you mean 'rl.blend_weight.maximum'",
        ),
        ("rl.blend=logit", "did you mean 'logits'"),
        ("rl.clip=0.2", "set rl.updates_per_rollout to 2 or more"),
        ("rl.loss_normalisation=sequences", "did you mean 'sequence'"),
        ("rl.lora={rank: 8}", "unknown key 'rl.lora.rank'"),
        ("rl.lora={r: 0}", "rl.lora.r=0: must be at least 1"),
        ("rl.lora={targets: q_proj}", "rl.lora.targets='q_proj': expected all-linear or a list"),
        ("rl={calibrate_peers: 2, temperature: 0.1}", "rl.temperature must not be set"),
        ("rl.sampling_top_p=0", "rl.sampling_top_p=0.0"),
        ("rl=gpro", "unknown rl preset 'gpro'; did you mean 'grpo'"),
    ],
)
def test_mistakes_are_named(override: str, complaint: str) -> None:
    recipe: list[Any] = [] if override.startswith("rl=g") else ["rl=grpo"]
    with pytest.raises(UserError, match=complaint):
        load_config([*recipe, "task=chain_sum", override])


def test_a_task_is_needed() -> None:
    with pytest.raises(UserError, match="rl needs task="):
        load_config(["rl=grpo"])
