"""Runs of reinforcement learning as they would have been left, written by hand in the documented format."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthetic_study import ENVIRONMENT, SyntheticStudy

from gatewright.config import Config, to_yaml
from gatewright.config.rl import RLConfig
from gatewright.study.plan import Arm, Study
from gatewright.study.trial import Trial

STEPS, EVERY = 40, 10
QUESTIONS = {
    "source": {"name": "chain_sum"},
    "train": {"questions": 16_384},
    "validation": {"questions": 500},
    "contamination": 0.0,
    "content_sha256": "fedcba9876543210",
    "tokenizer": {"name": "char", "sha256": "0"},
}


def reasoning_config(similarity: Any = "none", **rl: Any) -> Config:
    """A configuration of forty steps, made without composing presets."""
    config = copy.deepcopy(Config())
    config.task, config.init = "chain_sum", "runs/reasoner"
    config.train.max_steps, config.train.eval_every, config.train.log_every = STEPS, EVERY, 1
    config.rl = RLConfig(similarity=similarity, **rl)
    return config


def write_reasoning_run(
    path: Path,
    config: Config,
    accuracies: Sequence[float],
    *,
    listening: Mapping[str, float] | None = None,
    paths: dict[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> None:
    """A run with these accuracies at its evaluations, the first before the first step.

    Its completions have their own length, so that tokens differ from run to run.
    """
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(to_yaml(config))
    scored = {"data": QUESTIONS, "validation": {"questions": 500, "tokens": None}}
    (path / "environment.json").write_text(json.dumps({**ENVIRONMENT, **scored, **(environment or {})}))
    every, seed = STEPS // (len(accuracies) - 1), config.train.seed
    records: list[dict[str, Any]] = []
    for step in range(STEPS + 1):
        tokens = step * (2_000 + 17 * seed + sum(map(ord, path.parent.name)))
        if step:
            records.append(
                {
                    "kind": "train", "step": step, "tokens": tokens, "loss": 0.01 * math.sin(step), "lr": 1e-4,
                    "grad_norm": 1.0, "alpha": {}, "mfu": None, "memory_bytes": 10**8, "tokens_per_second": 1_000.0,
                    "time": 0.5 * step, "reward": accuracies[(step - 1) // every], "zero_variance": 0.25,
                    "gate.listening_share": 0.0, "gate.attention_entropy": 1.5, "gate.effective_peers": 5.0,
                    "gate.differing_mass": 0.2, **(listening or {}),
                }
            )  # fmt: skip
        if step % every == 0:
            scores = {"val_accuracy": accuracies[step // every], "val_accuracy_sampled": accuracies[step // every]}
            records.append({"kind": "eval", "step": step, "tokens": tokens, **scores, "val_completion_length": 9.0})
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    summary = {
        "status": "finished", "error": None, "architecture": "4L-4H-144D", "parameters": 1_000_000,
        "flops_per_token": 8_000_000, "final_train_loss": 0.01, "best_val_loss": None, "best_val_step": STEPS,
        "best_val_accuracy": max(accuracies), "final_val_loss": None, "val_accuracy": accuracies[-1],
        "val_accuracy_sampled": accuracies[-1], "tokens_per_second": 1_000.0, "mfu": None, "peak_memory_bytes": 10**8,
        "seed": seed, "steps": STEPS, "max_steps": STEPS, "tokens": records[-1]["tokens"], "seconds": 20.0, "alpha": {},
    }  # fmt: skip
    (path / "summary.json").write_text(json.dumps(summary))
    if paths is not None:
        (path / "listening.json").write_text(json.dumps(paths))


HEARD = {
    "gate.listening_share": 0.9, "gate.attention_entropy": 1.2, "gate.effective_peers": 3.0,
    "gate.differing_mass": 0.06, "gate.blend_divergence": 2e-4,
}  # fmt: skip
"""What a gate records."""


def path_record(tokens: Sequence[str], rewards: Sequence[float], fork_peer: int = 1) -> dict[str, Any]:
    """Paths of one letter a token; at each step all paths hear path ``fork_peer``, which hears path 0."""
    heard = [
        {"step": step, "path": path, "blend_weight": 0.1, "peers": {str(0 if path == fork_peer else fork_peer): 1.0}}
        for step in range(max(map(len, tokens)))
        for path, own in enumerate(tokens)
        if step < len(own)
    ]
    return {
        "step": STEPS,
        "question": {"id": "validation-0-0", "prompt": "47+12-09=", "answer": "50"},
        "paths": [
            {"tokens": list(own), "text": own, "reward": reward} for own, reward in zip(tokens, rewards, strict=True)
        ],
        "heard": heard,
    }


def reasoning_study(path: Path, arms: Mapping[str, Config], seeds: int = 3, **options: Any) -> SyntheticStudy:
    """The folder of a study judged by accuracy, whose baseline is the first arm; runs are left to the test."""
    wanted = {"metric": "val_accuracy", "equivalence_margin": 0.02, **options}
    study = Study("listening", next(iter(arms)), {name: Arm([]) for name in arms}, list(range(seeds)), **wanted)
    return SyntheticStudy(path, study, dict(arms))


def write_arm(study: SyntheticStudy, arm: str, courses: Sequence[Sequence[float]], **details: Any) -> None:
    """The runs of an arm, one for each course of accuracies."""
    for seed, accuracies in enumerate(courses):
        trial = Trial(arm, seed)
        folder = study.folder.run(trial)
        write_reasoning_run(folder, study.plan.config(trial, folder), accuracies, **details)


def finished_reasoning(path: Path) -> SyntheticStudy:
    """Three arms: one without listening, one of random peers, and ``jsd``, which learns a little faster."""
    arms = {
        "none": reasoning_config(),
        "random": reasoning_config("random_peer"),
        "jsd": reasoning_config("jsd"),
    }
    study = reasoning_study(path, arms)
    write_arm(study, "none", [(0.4, 0.5, 0.6, 0.7, 0.80 + 0.01 * seed) for seed in range(3)])
    heard = path_record(["19#$", "18#$"], [1, 0])
    write_arm(study, "random", [(0.4, 0.5, 0.6, 0.7, 0.79)] * 3, listening=HEARD, paths=heard)
    write_arm(
        study, "jsd", [(0.4, 0.6, 0.8, 0.81, 0.82 + 0.01 * seed) for seed in range(3)],
        listening=HEARD, paths=path_record(["47,50#50$", "47,51#51$", "47,50#50$"], [1.0, 0.0, 1.0]),
    )  # fmt: skip
    return study
