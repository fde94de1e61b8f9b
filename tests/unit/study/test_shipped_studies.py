"""The study files in studies/ can be run as they are, and on a laptop by one override."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.model.cost import cost
from gatewright.study.plan import load_study
from gatewright.study.trials import make_plan

SHIPPED = sorted((Path(__file__).parents[3] / "studies").glob("*.yaml"))
FILES = [file for file in SHIPPED if not any(override.startswith("init=") for override in load_study(file).base)]
SCALED = [file for file in FILES if "scale=seed" in load_study(file).base]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_arm_can_be_built_and_has_the_parameters_of_the_baseline(file: Path) -> None:
    plan = make_plan(load_study(file))
    parameters = {arm: cost(config.model).parameters for arm, config in plan.configs.items()}
    reference = parameters[plan.study.baseline]
    assert all(abs(own / reference - 1) < 0.01 for own in parameters.values()), parameters


@pytest.mark.parametrize("file", SCALED, ids=lambda file: file.stem)
def test_the_original_scale_is_gpt2_small_for_20000_steps(file: Path) -> None:
    config = make_plan(load_study(file)).configs[load_study(file).baseline]
    assert (config.model.n_layer, config.model.n_head, config.model.n_embd) == (12, 12, 768)
    train = config.train
    assert (train.max_steps, train.batch_size, train.eval_every) == (20_000, 4, 1_000)
    assert (train.save_every, train.log_every) == (5_000, 200)
    assert config.data.path == "Salesforce/wikitext"


@pytest.mark.parametrize("file", SCALED, ids=lambda file: file.stem)
def test_one_override_brings_a_study_to_a_laptop(file: Path) -> None:
    study = load_study(file, ["scale=laptop"])
    assert study.arms == load_study(file).arms
    for config in make_plan(study).configs.values():
        assert (config.model.n_layer, config.model.n_embd, config.train.max_steps) == (4, 128, 500)
        assert config.data.source == "sotu"


def test_there_are_studies_at_the_original_scale() -> None:
    assert {file.stem for file in SCALED} >= {"alpha", "presets", "ablations"}
