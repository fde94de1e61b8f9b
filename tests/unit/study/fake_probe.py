"""A training of known speed: it sleeps where a real one works, and writes what a real one writes.

Usage: fake_probe.py TIME_OF_START CONFIG_FILE [OVERRIDE…]

Start-up takes 0.4 s, a step 10 ms, an evaluated batch 50 ms. With ``train.compile`` start-up and the first evaluation
take two seconds more, start-up only until the cache folder holds a file ``compiled``. A model of 7 layers fails, one of
9 never finishes a step. What it did, with the times it really took, is noted in the cache folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml

STARTUP, STEP, BATCH, COMPILE = 0.4, 0.010, 0.05, 2.0
VALIDATION_TOKENS = 1_601  # 1,600 targets


def main() -> int:
    """Train until told to stop."""
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    cache, began = Path(os.environ["GATEWRIGHT_CACHE"]), float(sys.argv[1])
    config = yaml.safe_load(Path(sys.argv[2]).read_text())
    out, train = Path(config["out"]), config["train"]
    compiled = cache / "compiled"
    cold = train["compile"] and not compiled.exists()
    time.sleep(STARTUP + COMPILE * cold)
    compiled.touch()
    if config["model"]["n_layer"] == 7:
        print("gatewright: no room for seven layers")
        return 1
    out.mkdir(parents=True)
    (out / "config.yaml").write_text(Path(sys.argv[2]).read_text())
    (out / "environment.json").write_text(json.dumps({"data": {"validation": {"tokens": VALIDATION_TOKENS}}}))
    batch = train["batch_size"] * config["model"]["block_size"]
    tokens = batch * train["grad_accumulation"]
    batches = -(-min(train["eval_tokens"], VALIDATION_TOKENS - 1) // batch)
    step, steps, evaluations = 0, 0.0, []
    with (out / "metrics.jsonl").open("w") as metrics:
        while not asked:
            if config["model"]["n_layer"] == 9:
                time.sleep(0.05)
                continue
            start = time.perf_counter()
            time.sleep(STEP * train["log_every"])
            step += train["log_every"]
            steps += time.perf_counter() - start
            rate = train["log_every"] * tokens / (time.perf_counter() - start)
            record = {"kind": "train", "step": step, "tokens_per_second": rate, "time": time.time()}
            metrics.write(json.dumps(record) + "\n")
            metrics.flush()
            start = time.perf_counter()
            time.sleep(BATCH * batches + COMPILE * (train["compile"] and step == train["eval_every"]))
            evaluations.append(time.perf_counter() - start)
            metrics.write(json.dumps({"kind": "eval", "step": step}) + "\n")
    (out / "summary.json").write_text(json.dumps({"status": "interrupted", "steps": step}))
    ended, later = time.time(), evaluations[1:] or evaluations
    evaluation = sum(later) / len(later)
    note = {
        "began": began,
        "ended": ended,
        "threads": os.environ["OMP_NUM_THREADS"],
        "overrides": sys.argv[3:],
        "batches": batches,
        "layers": config["model"]["n_layer"],
        "fixed": ended - began - steps - len(evaluations) * evaluation,
        "per_step": steps / step,
        "per_batch": evaluation / batches,
    }
    (cache / f"note-{os.getpid()}.json").write_text(json.dumps(note))
    return 130


if __name__ == "__main__":
    sys.exit(main())
