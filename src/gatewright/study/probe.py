"""Measuring how long a study's runs take: a few real steps of each design, run the way its trials will run.

Two trials on two cores slow each other, so as many runs are measured side by side as the study has workers, each in a
process of its own with its share of the threads, in a temporary folder. Each writes a record and evaluates a few
batches every other step; when all of them have shown enough, they are asked to stop. Where training compiles, this is
done twice and the second time counts: the first fills the compiler's cache, which a study's trials find warm.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from gatewright.config import Config, DataConfig, to_yaml
from gatewright.errors import RunError
from gatewright.files import write_atomic
from gatewright.run import CONFIG, Run
from gatewright.study.launch.attempt import Attempt
from gatewright.study.launch.job import Launcher
from gatewright.study.launch.local import LocalLauncher
from gatewright.study.process import Command, note_failure, train_command
from gatewright.study.store import StudyFolder
from gatewright.study.timing import Timing, TimingStore, families, today
from gatewright.study.trial import Trial
from gatewright.study.trials import Plan

EVERY = 2
"""Steps between records, and between evaluations."""

EVALUATION_BATCHES = 4
"""Batches of an evaluation here; the study's own are so many times longer."""

SECONDS = 6.0
"""Time to measure, from the first record on."""

PATIENCE = 900.0
"""Time after which a design that has not shown enough is given up."""

POLL_SECONDS = 0.1
ENDLESS = 1_000_000_000


def measure(
    plan: Plan,
    workers: int,
    threads: int,
    *,
    command: Command = train_command,
    prepare: Callable[[DataConfig], Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
    fresh: bool = False,
) -> dict[str, Timing]:
    """The timing of every arm of ``plan``, run ``workers`` at a time with ``threads`` CPU threads each.

    Designs that differ in nothing that takes time are measured once, and what was measured on this machine before is
    remembered (``fresh`` measures again). Data that are not there yet are prepared first. Raises `RunError` if a
    design fails or is too slow to be measured.
    """
    store = TimingStore(workers, threads)
    groups = families(plan)
    found = {} if fresh else {f: t for f, arms in groups.items() if (t := store.get(f, plan.configs[arms[0]]))}
    missing = [family for family in groups if family not in found]
    if missing:
        prepare_corpora([plan.configs[groups[family][0]] for family in missing], prepare)
    beside = min(workers, len(plan.trials))
    with LocalLauncher() as launcher:
        for start in range(0, len(missing), beside):
            batch = missing[start : start + beside]
            arms = [groups[family][0] for family in batch]
            configs = [plan.configs[arm] for arm in arms]
            say(f"measuring how long runs take: {', '.join(arms)}")
            side_by_side = [Trial(arms[i % len(arms)], i) for i in range(beside)]
            if any(config.train.compile for config in configs):
                _run(side_by_side, plan, threads, command, launcher)
            measured = _run(side_by_side, plan, threads, command, launcher)
            for family, arm, config in zip(batch, arms, configs, strict=True):
                own = [timing for trial, timing in zip(side_by_side, measured, strict=True) if trial.arm == arm]
                found[family] = _mean(own)
                store.put(family, config, found[family])
    return {arm: found[family] for family, arms in groups.items() for arm in arms}


def prepare_corpora(configs: Sequence[Config], prepare: Callable[[DataConfig], Any] | None = None) -> None:
    """Prepare each distinct corpus once, before several processes would all begin to do it. Tasks need none."""
    if prepare is None:
        from gatewright.data import prepare as prepare_data

        prepare = lambda config: prepare_data(config, progress=True)  # noqa: E731
    done: list[DataConfig] = []
    for data in (config.data for config in configs if config.task is None):
        if data not in done:
            prepare(data)
            done.append(data)


def _run(trials: list[Trial], plan: Plan, threads: int, command: Command, launcher: Launcher) -> list[Timing]:
    """Run the trials together until each has shown enough; the timing of each."""
    with tempfile.TemporaryDirectory(prefix="gatewright-probe-") as temporary:
        folder = StudyFolder(temporary)
        probes: list[_Probe] = []
        try:
            for trial in trials:
                probes.append(_Probe(trial, plan.configs[trial.arm], folder, threads, command, launcher))
            _wait(probes, lambda probe: probe.enough)
            for probe in probes:
                probe.process.stop()
            _wait(probes, lambda probe: probe.ended is not None)
            return [probe.timing() for probe in probes]
        finally:
            for probe in probes:
                if probe.process.running():
                    probe.process.kill()


def _mean(timings: Sequence[Timing]) -> Timing:
    startup, per_step, per_evaluation = (
        fmean(getattr(timing, part) for timing in timings) for part in ("startup", "per_step", "per_evaluation")
    )
    return Timing(startup, per_step, per_evaluation, today())


def _wait(probes: list[_Probe], done: Callable[[_Probe], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while waiting := [probe for probe in probes if not done(probe)]:
        if time.monotonic() > end:
            arm = waiting[0].trial.arm
            raise RunError(f"arm '{arm}' cannot be measured: a few steps of it took more than {PATIENCE:.0f} s")
        time.sleep(POLL_SECONDS)
        for probe in probes:
            probe.look()


class _Probe:
    """One run that is being measured."""

    def __init__(
        self, trial: Trial, config: Config, folder: StudyFolder, threads: int, command: Command, launcher: Launcher
    ) -> None:
        self.trial, self.config = trial, config
        self.path = folder.run(trial)
        self.batch_tokens = config.train.batch_size * config.model.block_size
        self.step_tokens = self.batch_tokens * config.train.grad_accumulation
        train = dataclasses.replace(
            config.train, seed=trial.seed, max_steps=ENDLESS, save_every=ENDLESS, log_every=EVERY, eval_every=EVERY,
            eval_tokens=min(config.train.eval_tokens, EVALUATION_BATCHES * self.batch_tokens),
        )  # fmt: skip
        self.eval_tokens = train.eval_tokens
        short = dataclasses.replace(config, train=train, out=str(self.path), resume="auto")
        write_atomic(folder.config_file(trial), to_yaml(short))
        overrides = [f"train.threads={threads}"] if config.train.threads is None else []
        arguments = command(folder.config_file(trial), overrides)
        attempt = Attempt(arguments, str(folder.log_file(trial)), config.train.threads or threads)
        self.process, self._folder = launcher.start(trial, folder, attempt), folder
        self.began = time.monotonic()
        self.records: list[dict[str, Any]] = []
        self.first_record: float | None = None
        self.enough = False
        self.ended: float | None = None

    def look(self) -> None:
        """Take note of how far the run is; `RunError` if it has ended and was not asked to."""
        if self.ended is not None:
            return
        alive = self.process.running()
        if (self.path / CONFIG).is_file():
            self.records = [r for r in Run(self.path).train_records() if r.get("tokens_per_second")]
        if self.records and self.first_record is None:
            self.first_record = time.monotonic()
        settled = self.first_record is not None and time.monotonic() >= self.first_record + SECONDS
        self.enough |= settled and len(self.evaluations()) > 0
        if not alive:
            self.ended = time.monotonic()
            if not self.enough:
                why = note_failure(self.trial, self._folder, self.process.ending().how)
                raise RunError(f"arm '{self.trial.arm}' failed when it was measured: {why}")

    def evaluations(self) -> list[float]:
        """Seconds of each evaluation: from one record to the next, less the steps between them.

        A first evaluation that compiles is left out.
        """
        pairs = list(zip(self.records, self.records[1:], strict=False))
        return [
            max(0.0, after["time"] - before["time"] - EVERY * self.step_tokens / after["tokens_per_second"])
            for before, after in pairs[1 if self.config.train.compile else 0 :]
        ]

    def timing(self) -> Timing:
        """What the run, which has ended, says about one of the study."""
        assert self.ended is not None
        run = Run(self.path)
        steps = (run.summary or {}).get("steps") or self.records[-1]["step"]
        per_step = fmean(self.step_tokens / record["tokens_per_second"] for record in self.records)
        per_evaluation = fmean(self.evaluations())
        rest = self.ended - self.began - steps * per_step - steps // EVERY * per_evaluation
        available = run.environment.get("data", {}).get("validation", {}).get("tokens", math.inf) - 1
        here, there = (
            math.ceil(min(tokens, available) / self.batch_tokens)
            for tokens in (self.eval_tokens, self.config.train.eval_tokens)
        )
        return Timing(max(0.0, rest), per_step, per_evaluation * there / here)
