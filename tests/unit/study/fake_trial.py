"""A trial that trains nothing: it reads its configuration and writes the run directory that a trial would write.

Usage: fake_trial.py train CONFIG_FILE [OVERRIDE…]

``behaviour.json`` beside the study's folder maps a trial's name to ``fail``, ``crash`` (no summary), ``once`` (fails at
the first attempt), ``diverge``, ``slow``, ``doomed`` (kills itself at step 7, every time), ``shot`` (kills itself at
step 7 of the first attempt) or ``hang`` (at step 7 of the first attempt, and hears no signal). On SIGTERM or SIGINT it
saves its step and leaves. The arm ``late`` does best at a
learning rate of 0.01, all others at 0.001.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

import yaml

STEPS, SAVE_EVERY = 20, 5


def write_whole(path: Path, text: str) -> None:
    """Whole or not at all, as real trials do."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text)
    temporary.replace(path)


def write_summary(out: Path, summary: dict) -> None:
    """Write how the trial ended."""
    write_whole(out / "summary.json", json.dumps(summary))


def main() -> int:
    """Run the trial."""
    config = yaml.safe_load(Path(sys.argv[2]).read_text())
    out = Path(config["out"])
    name = f"{out.parent.name}/{out.name}"
    behaviour = json.loads((out.parents[2].parent / "behaviour.json").read_text()).get(name, "")
    out.mkdir(parents=True, exist_ok=True)
    attempts = out / "attempts.json"
    earlier = json.loads(attempts.read_text()) if attempts.exists() else []
    checkpoint = out / "checkpoint"
    start = int(checkpoint.read_text()) if checkpoint.exists() else 0
    attempt = {"start": start, "overrides": sys.argv[3:], "threads": os.environ["OMP_NUM_THREADS"]}
    write_whole(attempts, json.dumps([*earlier, attempt]))
    write_whole(out / "config.yaml", Path(sys.argv[2]).read_text())
    if behaviour == "crash":
        print("Traceback (most recent call last):\n  ...\nMemoryError: no more", flush=True)
        return 1
    if behaviour == "fail" or (behaviour == "once" and not earlier):
        write_summary(out, {"status": "failed", "error": "the loss became nan at step 3"})
        print("gatewright: the loss became nan at step 3", flush=True)
        return 1

    if behaviour == "diverge":
        write_summary(out, {"status": "diverged", "error": "the loss became nan at step 3"})
        return 1

    asked = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.append(True))
    loss = 3.7 + 0.01 * config["train"]["seed"] + (0.05 if out.parent.name == "other" else 0.0)
    best_rate = 1e-2 if out.parent.name == "late" else 1e-3
    loss += 0.1 * abs(math.log10(config["train"]["learning_rate"] / best_rate))
    loss += 0.001 * (hash((out.parent.name == "other", config["train"]["seed"])) % 5)
    with (out / "metrics.jsonl").open("a") as metrics:
        for step in range(start + 1, STEPS + 1):
            time.sleep(0.2 if behaviour == "slow" else 0.002)
            value = loss + 1 - step / STEPS
            metrics.write(
                json.dumps(
                    {
                        "kind": "train",
                        "step": step,
                        "tokens": 100 * step,
                        "loss": value,
                        "alpha": {},
                        "tokens_per_second": 1e3,
                    }
                )
                + "\n"
            )
            metrics.flush()
            if step == 7 and (behaviour == "doomed" or (behaviour == "shot" and not earlier)):
                os.kill(os.getpid(), signal.SIGKILL)
            while step == 7 and behaviour == "hang" and not earlier:
                time.sleep(0.1)
            if step % SAVE_EVERY == 0 or asked:
                write_whole(checkpoint, str(step))
            if asked:
                write_summary(out, {"status": "interrupted", "error": None})
                return 130
        metrics.write(json.dumps({"kind": "eval", "step": STEPS, "tokens": 100 * STEPS, "val_loss": loss}) + "\n")
    summary = {
        "status": "finished", "error": None, "architecture": "fake", "parameters": 100, "flops_per_token": 600,
        "final_val_loss": loss, "best_val_loss": loss, "best_val_step": STEPS, "steps": STEPS, "tokens": 100 * STEPS,
        "tokens_per_second": 1e3, "seconds": 1.0, "seed": config["train"]["seed"],
    }  # fmt: skip
    write_summary(out, summary)
    return 0


sys.exit(main())
