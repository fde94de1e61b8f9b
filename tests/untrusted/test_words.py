"""Overrides and study files of any wording: a configuration, or an error of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from effort import EFFORT
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import ODD

from gatewright.config import load_config
from gatewright.errors import UserError
from gatewright.study.plan import load_study
from gatewright.study.trials import make_plan

KEYS = ["model", "model.n_layer", "model.position", "model.position.theta", "model.gate.norm", "model.alpha", "data",
        "data.source", "train.learning_rate", "train.seed", "train.schedule", "scale", "rl", "rl.steps", "task",
        "plugins", "out", "parallel.mode", "model.n_layer.x", "modle.n_layer", "~train.seed", "+train.seed",
        "train@x.y", ""]  # fmt: skip
VALUES = ["1", "-1", "1e400", "null", "true", "[1,2]", "{a: 1}", "{name: rope, theta: 5}", "rope", "llama", "laptop",
          "choice(1,2)", "range(1,3)", "${oc.env:HOME}", "'a", '"\\', "\x1b[31m", "[[[", "nan", "inf", "", " ",
          "9" * 400, "[" * 60, "{" * 40, "sort(1)", "glob(*)", "_target_: os.system", "{_target_: os.system}",
          "[my.py]", "📎", "a=b=c", "\x00"]  # fmt: skip

overrides = st.one_of(
    st.builds("{}={}".format, st.sampled_from(KEYS), st.sampled_from(VALUES) | st.text(max_size=12)),
    st.text(max_size=20),
)


def composed(words: list[str]) -> None:
    try:
        load_config(["model=small", *words])
    except UserError as error:
        message = str(error)
    else:
        return
    assert "\n" not in message or "\n" in "".join(words)
    assert 0 < len(message) < 2_000


@EFFORT
@given(words=st.lists(overrides, min_size=1, max_size=2))
@example(words=["train.learning_rate=" + "9" * 400])
@example(words=["train.seed=" + "9" * 400])
@example(words=["model.n_layer=1000000000000"])
@example(words=["model.n_embd=100000000000000"])
@example(words=["model.n_embd=" + "9" * 30])
@example(words=["model.alpha=" + "[" * 200])
@example(words=["task={_target_: os.system}"])
def test_overrides(words: list[str]) -> None:
    composed(words)


STUDY = """
name: sample
base: [model=small, train.max_steps=4]
seeds: [0, 1]
baseline: plain
arms: {plain: {}, gated: {overrides: [model.feedforward=pagelu]}}
"""


@EFFORT
@given(old=st.sampled_from(STUDY.split()), new=st.sampled_from([repr(odd) for odd in ODD]) | st.text(max_size=12))
def test_study_files(old: str, new: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file: Path = tmp_path_factory.getbasetemp() / "study.yaml"
    file.write_bytes(STUDY.replace(old, new).encode("utf-8", "surrogatepass"))
    try:
        make_plan(load_study(file))
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
