"""Tokens prepared a second and core, and the memory that takes, by one process and by several, for two sizes of text.

    python benchmarks/prepare_data.py --megabytes 32 --megabytes 64 --processes 1 --processes 2

The corpus is the bundled text over and over, in each copy with other words exchanged, as JSON lines, one a paragraph.
The tokenizer is learnt beforehand. What is measured is ``gatewright prepare`` as a user calls it: reading, dividing,
encoding, checksums. Each process has one thread. A core's tokens per second are tokens by CPU time, so that what else
runs on the machine disturbs them little. Peak memory is the largest resident set of any one process, sampled.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from gatewright.config import DataConfig
from gatewright.data import open_corpus
from gatewright.data.tokenization import tokenizer_recipe

SAMPLE_SECONDS = 0.05
EXCHANGED = 0.05
"""Share of words that a copy has elsewhere."""


@dataclass
class Use:
    """What a command used."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peaks: dict[int, int] = field(default_factory=dict)
    """The largest resident set of each process, bytes."""


def main(
    megabytes: Annotated[list[int] | None, typer.Option(help="sizes of text, MB")] = None,
    processes: Annotated[list[int] | None, typer.Option(help="data.processes")] = None,
    tokenizer: Annotated[str, typer.Option(help="data.tokenizer; it learns from the bundled text")] = "bpe-8192",
) -> None:
    """Print a row for each size and number of processes."""
    megabytes, processes = megabytes or [32, 64], processes or [1, 2]
    table = Table("MB", "processes", "tokens", "seconds", "tokens/s", "tokens/s and core", "peak MB of a process")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        texts = [document.text for document in open_corpus(DataConfig()).documents("all")]
        tokenizer_recipe(tokenizer).build(lambda: iter(texts)).save(place / "tokenizer")
        for size in megabytes:
            path = place / f"{size}.jsonl"
            write_corpus(path, texts, size * 10**6)
            seen = set()
            for number in processes:
                cache = place / f"cache-{size}-{number}"
                overrides = [f"data.path={path}", f"data.tokenizer={place / 'tokenizer'}", f"data.processes={number}"]
                found, use = measured(["data=files", *overrides, f"data.cache_dir={cache}"])
                seen.add(tuple(path.read_bytes() for path in sorted(Path(found["folder"]).glob("*.bin"))))
                tokens = sum(found[split]["tokens"] for split in ("train", "validation"))
                table.add_row(
                    f"{size}", f"{number}", f"{tokens:,}", f"{use.seconds:.1f}", f"{tokens / use.seconds:,.0f}",
                    f"{tokens / use.cpu_seconds:,.0f}", f"{max(use.peaks.values()) / 1e6:.0f}",
                )  # fmt: skip
            if len(seen) > 1:
                raise SystemExit("the prepared tokens depend on the number of processes")
    Console().print(table)


def write_corpus(path: Path, texts: list[str], size: int) -> None:
    """About ``size`` bytes of paragraphs, no two copies of one alike."""
    rng, written = random.Random(0), 0
    words = " ".join(texts).split()
    with path.open("w", encoding="utf-8") as file:
        while True:
            for paragraph in (part for text in texts for part in text.split("\n\n")):
                own = paragraph.split(" ")
                for _ in range(round(EXCHANGED * len(own))):
                    own[rng.randrange(len(own))] = rng.choice(words)
                line = json.dumps({"text": " ".join(own)}, ensure_ascii=False) + "\n"
                file.write(line)
                written += len(line)
                if written >= size:
                    return


def measured(overrides: list[str]) -> tuple[dict, Use]:
    """What ``gatewright prepare`` says, and what it used."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    before, begin = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "gatewright", "prepare", *overrides, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    use, done = Use(), threading.Event()
    watcher = threading.Thread(target=watch, args=(process.pid, use, done))
    watcher.start()
    said = process.communicate()[0]
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(process.returncode)
    after = os.times()
    use.seconds = time.perf_counter() - begin
    use.cpu_seconds = sum(after[2:4]) - sum(before[2:4])  # of children and theirs
    return json.loads(said), use


def watch(pid: int, use: Use, done: threading.Event) -> None:
    """Note the resident sets of a process and its children until ``done``."""
    while not done.wait(SAMPLE_SECONDS):
        try:
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            for process in family:
                use.peaks[process.pid] = max(use.peaks.get(process.pid, 0), process.memory_info().rss)
        except psutil.NoSuchProcess:
            continue


if __name__ == "__main__":
    typer.run(main)
