"""Measuring how long runs take, with trainings of known speed and with a real one; and laying out trials."""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from fake_probe import STARTUP
from synthetic_study import plain_config

from gatewright.config import Config, DataConfig
from gatewright.errors import RunError
from gatewright.study import probe, timing
from gatewright.study.plan import Arm, Study
from gatewright.study.probe import measure
from gatewright.study.timing import Timing, TimingStore, estimate, evaluations, families
from gatewright.study.trial import Trial
from gatewright.study.trials import Plan, make_plan

FAKE = Path(__file__).with_name("fake_probe.py")


def fake_command(config_file: Path, overrides: list[str]) -> list[str]:
    """The command of a fake training."""
    return [sys.executable, str(FAKE), str(time.time()), str(config_file), *overrides]


def small(**model: object) -> Config:
    """A configuration whose evaluation has ten batches of 160 tokens, of the 1,600 that there are."""
    config = plain_config(batch_size=5, max_steps=100, eval_every=30, eval_tokens=5_000)
    config.model.block_size, config.train.compile = 32, False
    for key, value in model.items():
        setattr(config.model, key, value)
    return config


def plan_of(seeds: int = 2, **configs: Config) -> Plan:
    """A plan whose arms are these; the first is the baseline, and compared with its like if it is the only one."""
    if len(configs) == 1:
        configs["twin"] = next(iter(configs.values()))
    return Plan(Study("timed", next(iter(configs)), {arm: Arm() for arm in configs}, list(range(seeds))), configs)


Measure = Callable[..., dict[str, Timing]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, and little patience."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(folder))
    monkeypatch.setattr(probe, "SECONDS", 0.5)
    monkeypatch.setattr(probe, "POLL_SECONDS", 0.02)
    return folder


def measured(plan: Plan, workers: int = 2, threads: int = 1, **options: object) -> dict[str, Timing]:
    """The timings of a plan whose trainings are fakes."""
    return measure(plan, workers, threads, command=fake_command, prepare=lambda config: None, **options)


def notes(cache: Path) -> list[dict]:
    """What the fake trainings saw, in the order of their starts."""
    return sorted((json.loads(file.read_text()) for file in cache.glob("note-*.json")), key=lambda n: n["began"])


def test_start_up_steps_and_evaluations_are_told_apart(cache: Path) -> None:
    result = measured(plan_of(a=small(), b=small(n_layer=2)))
    for note in notes(cache):
        found = result["a" if note["layers"] == 12 else "b"]
        assert found.per_step == pytest.approx(note["per_step"], rel=0.05)
        assert found.per_evaluation == pytest.approx(10 * note["per_batch"], rel=0.1)  # measured on four batches
        assert STARTUP < note["fixed"] == pytest.approx(found.startup, abs=0.4)  # evaluations took more than that
    assert {note["batches"] for note in notes(cache)} == {4}


def test_designs_are_measured_beside_each_other_with_the_studys_threads(cache: Path) -> None:
    fixed = small(n_layer=3)
    fixed.train.threads = 5
    measured(plan_of(a=small(), b=fixed), threads=3)
    first, second = notes(cache)
    assert first["ended"] > second["began"]
    assert {n["layers"]: (n["threads"], n["overrides"]) for n in (first, second)} == {
        12: ("3", ["train.threads=3"]), 3: ("5", []),
    }  # fmt: skip


def test_a_single_design_is_measured_beside_itself(cache: Path) -> None:
    tuned = small()
    tuned.train.learning_rate, tuned.train.max_steps, tuned.train.eval_every = 0.5, 7, 3
    result = measured(plan_of(a=small(), b=tuned), workers=3)
    assert [n["layers"] for n in notes(cache)] == [12, 12, 12]
    assert max(n["began"] for n in notes(cache)) < min(n["ended"] for n in notes(cache))
    assert result["a"] == result["b"]


def test_no_more_run_beside_each_other_than_the_study_has_trials(cache: Path) -> None:
    measured(plan_of(1, a=small(), b=small()), workers=8)
    assert len(notes(cache)) == 2


def test_compilation_is_measured_with_a_warm_cache(cache: Path) -> None:
    config = small()
    config.train.compile = True
    result = measured(plan_of(a=config, b=config), workers=1)
    first, second = notes(cache)
    assert first["ended"] < second["began"]
    assert first["fixed"] > second["fixed"] + 1.5
    assert result["a"].startup == pytest.approx(second["fixed"], abs=0.4)
    assert result["a"].per_evaluation == pytest.approx(10 * second["per_batch"], rel=0.1)


def test_what_was_measured_is_remembered_for_the_same_machine_and_way_of_running(cache: Path) -> None:
    plan, said = plan_of(a=small()), []
    first = measured(plan, say=said.append)
    assert measured(plan, say=said.append) == first
    assert len(notes(cache)) == 2
    assert said == ["measuring how long runs take: a"]
    measured(plan_of(a=small(), b=small(n_layer=2)), say=said.append)
    assert said[1:] == ["measuring how long runs take: b"]
    measured(plan, workers=1, say=said.append)
    measured(plan, threads=2, say=said.append)
    again = measured(plan, fresh=True, say=said.append)
    assert len(said) == 5
    assert measured(plan) == again != first


def test_a_damaged_memory_is_no_memory(cache: Path) -> None:
    store = TimingStore(1, 1)
    for content in ("{", "[]", '{"x": 3}', '{"x": {"startup": 1}}'):
        (cache / timing.TIMINGS).write_text(content)
        assert store.get("x", small()) is None
    fresh = Timing(1.0, 2.0, 3.0, timing.today())
    store.put("x", small(), fresh)
    assert store.get("x", small()) == fresh
    store.put("x", small(), Timing(1.0, 2.0, 3.0, "2026-01-01"))  # the machine may have been busy then
    assert store.get("x", small()) is None


def test_a_design_that_fails_is_named_with_what_it_said_and_nothing_is_left_running(cache: Path) -> None:
    with pytest.raises(RunError, match=r"arm 'b' failed when it was measured: no room for seven layers \(exit"):
        measured(plan_of(a=small(), b=small(n_layer=7)))
    assert not [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    assert not (cache / timing.TIMINGS).exists()


def test_a_design_that_is_too_slow_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PATIENCE", 1.5)
    with pytest.raises(RunError, match="arm 'a' cannot be measured"):
        measured(plan_of(a=small(n_layer=9)), workers=1)
    assert not [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


def test_corpora_are_prepared_once_each_and_not_for_what_is_known(cache: Path) -> None:
    other = small(n_layer=2)
    other.data = DataConfig(tokenizer="byte")
    prepared: list[DataConfig] = []
    plan = plan_of(a=small(), b=small(n_layer=4), c=other)
    for _ in range(2):
        measure(plan, 3, 1, command=fake_command, prepare=prepared.append)
    assert [config.tokenizer for config in prepared] == ["bpe-1024", "byte"]


def test_families_are_what_takes_the_same_time() -> None:
    def arm(alpha: object, rate: float = 1e-3, **train: object) -> Config:
        config = copy.deepcopy(Config())
        config.model.feedforward, config.model.alpha, config.train.learning_rate = "pagelu", alpha, rate
        for key, value in train.items():
            setattr(config.train, key, value)
        return config

    plan = plan_of(
        zero=arm("static_0.0"), half=arm(0.5, 2e-3), named=arm({"name": "static", "value": 0.8}, warmup_steps=3),
        learnable=arm("learnable"), cosine=arm("scheduler_cosine"), wide=arm(0.5, batch_size=9),
        scored=arm(0.5, eval_tokens=1), layers=arm([0.1, "learnable"]), others=arm([0.9, "learnable"]),
    )  # fmt: skip
    assert list(families(plan).values()) == [
        ["zero", "half", "named"], ["learnable"], ["cosine"], ["wide"], ["scored"], ["layers", "others"],
    ]  # fmt: skip


@pytest.mark.parametrize(("steps", "every", "count"), [(100, 100, 1), (100, 30, 4), (100, 200, 1), (101, 50, 3)])
def test_evaluations_of_a_run(steps: int, every: int, count: int) -> None:
    assert evaluations(plain_config(max_steps=steps, eval_every=every)) == count


def test_trials_are_laid_out_on_the_workers_in_their_order() -> None:
    config = plain_config(max_steps=10, eval_every=5)
    plan = plan_of(2, fast=config, slow=config)
    timings = {"fast": Timing(2.0, 0.1, 1.0), "slow": Timing(6.0, 0.2, 1.0)}  # 5 s and 10 s a run
    assert estimate(plan, timings, 1) == pytest.approx(30)
    assert estimate(plan, timings, 2) == pytest.approx(20)  # fast, fast, slow (10 to 20) beside slow (0 to 10)
    assert estimate(plan, timings, 9) == pytest.approx(10)
    assert estimate(plan, timings, 2, [Trial("slow", 1), Trial("fast", 0)]) == pytest.approx(10)
    assert estimate(plan, timings, 2, []) == 0


def test_a_real_training_is_measured(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The true command and a true, tiny model: the numbers are those of the machine, so only their order is asked."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "corpus").mkdir()
    for number in range(8):
        (tmp_path / "corpus" / f"{number}.txt").write_text(f"Chapter {number}. " + "The gate is open, or shut. " * 60)
    base = ["model=small", "model.n_layer=1", "model.n_head=2", "model.n_embd=32", "model.block_size=32", "data=files",
            f"data.path={tmp_path / 'corpus'}", "data.tokenizer=byte", "train.batch_size=4", "train.max_steps=8",
            "train.tensorboard=false"]  # fmt: skip
    arms = {"plain": Arm(), "deep": Arm(["model.n_layer=6"])}
    study = Study("tiny", "plain", arms, [0, 1], base=base)
    result = measure(make_plan(study), 2, 1, prepare=lambda config: None)
    assert 0 < result["plain"].per_step < result["deep"].per_step < 1
    assert result["plain"].startup > 0.5
    assert 0 < result["deep"].per_evaluation < 10
    assert estimate(make_plan(study), result, 1) > 2 * (result["plain"].startup + result["deep"].startup)
