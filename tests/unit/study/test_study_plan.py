"""The study file: what it may say, what is refused and in which words, and the trials it expands to."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from synthetic_study import plain_config

from gatewright.config import Config, from_yaml
from gatewright.errors import UserError
from gatewright.model.cost import cost
from gatewright.study import describe_plan, load_study
from gatewright.study.plan import Arm, Study
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial
from gatewright.study.trials import Plan, design, differences, make_plan

STUDY = """
name: demo
base: [model=small, data=sotu, train.max_steps=50, model.n_layer=1]
seeds: [3, 1]
baseline: gelu
match: params
metric: val_loss
equivalence_margin: 5e-3
arms:
  gelu: {overrides: [model.feedforward=standard], about: plain}
  glu: {overrides: [model.feedforward=swiglu]}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "demo.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_study_file_is_read_and_written_without_loss(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, STUDY))
    assert study.seeds == [3, 1]
    assert study.equivalence_margin == 0.005
    assert study.challengers == ["glu"]
    assert study.arms["gelu"] == Arm(["model.feedforward=standard"], "plain")
    assert load_study(write(tmp_path, study.to_yaml())) == study


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds:", "sedes:", "unknown key 'sedes'; did you mean 'seeds'?"),
        ("seeds: [3, 1]", "seeds: [3, 1, 3]", "3 is listed more than once"),
        ("seeds: [3, 1]", "seeds: []", "at least one"),
        ("seeds: [3, 1]", "seeds: [-1]", "negative"),
        ("seeds: [3, 1]", "seeds: 3", "expected list"),
        ("seeds: [3, 1]", "", "'seeds' is missing"),
        ("baseline: gelu", "baseline: gelus", "'gelus' is not an arm; did you mean 'gelu'?"),
        ("baseline: gelu", "", "'baseline' is missing"),
        ("  glu:", "  gelu:", "duplicate"),
        ("  glu:", "  GELU:", "share a folder"),
        ("  glu:", "  ../glu:", "cannot name a folder"),
        ("  glu:", "  .glu:", "cannot name a folder"),
        ("name: demo", "name: a/b", "cannot name a folder"),
        ("{overrides: [model.feedforward=swiglu]}", "{override: [x=1]}", "did you mean 'arms.glu.overrides'?"),
        ("{overrides: [model.feedforward=swiglu]}", "[model.feedforward=swiglu]", "expected a block"),
        ("[model.feedforward=swiglu]", "[train.seed=1]", "list seeds under 'seeds'"),
        ("[model.feedforward=swiglu]", "[out=x]", "--out"),
        ("metric: val_loss", "metric: val_los", "did you mean 'val_loss'?"),
        ("match: params", "match: parms", "did you mean 'params'?"),
        ("equivalence_margin: 5e-3", "equivalence_margin: 5", "0.005 is 0.5 %"),
        ("  glu: {overrides: [model.feedforward=swiglu]}", "", "only arm is the baseline"),
        ("arms:", "arms: [", "not readable YAML"),
    ],
)
def test_mistakes_are_one_line_with_the_files_name(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in STUDY
    path = write(tmp_path, STUDY.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_study(path)
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert "\n" not in message


def test_a_missing_file_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the study file"):
        load_study(tmp_path / "none.yaml")


def test_overrides_for_every_arm_join_the_base_unless_an_arm_contradicts(tmp_path: Path) -> None:
    path = write(tmp_path, STUDY)
    plan = make_plan(load_study(path, ["train.max_steps=7"]))
    assert {config.train.max_steps for config in plan.configs.values()} == {7}
    with pytest.raises(UserError, match="arm 'gelu' has model\\.feedforward=standard"):
        load_study(path, ["model.feedforward=geglu"])


def test_a_bad_override_names_its_arm_before_anything_runs() -> None:
    study = Study("s", "a", {"a": Arm(), "b": Arm(["model.n_haed=3"])}, [0], base=["model=small"])
    with pytest.raises(UserError, match=r"arm 'b': unknown key 'model.n_haed'; did you mean 'model.n_head'"):
        make_plan(study)


def test_trials_go_seed_by_seed_and_carry_seed_and_place(tmp_path: Path) -> None:
    plan = make_plan(load_study(write(tmp_path, STUDY)))
    assert plan.trials == [Trial("gelu", 3), Trial("glu", 3), Trial("gelu", 1), Trial("glu", 1)]
    config = plan.config(Trial("glu", 1), tmp_path / "run")
    assert (config.train.seed, config.out, config.resume) == (1, str(tmp_path / "run"), "auto")
    assert design(config) == design(plan.configs["glu"])


def test_match_gives_arms_the_baselines_size_and_respects_a_stated_width() -> None:
    def size(match: str, arm: Arm) -> float:
        study = Study("s", "a", {"a": Arm(["model.expansion=6.0"]), "b": arm}, [0], base=["model=small"], match=match)
        plan = make_plan(study)
        return cost(plan.configs["b"].model).parameters / cost(plan.configs["a"].model).parameters

    gated = ["model.feedforward=swiglu"]
    assert size("params", Arm(gated)) == pytest.approx(1, abs=0.01)
    assert size("none", Arm(gated)) < 0.9
    assert size("params", Arm([*gated, "model.hidden=64"])) < 0.5


def test_the_plan_is_described_with_both_costs_and_totals(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, STUDY))
    console = Console(width=160, record=True)
    console.print(describe_plan(make_plan(study)))
    text = console.export_text()
    parameters = cost(make_plan(study).configs["glu"].model).parameters
    for expected in (
        "gelu (baseline)",
        f"{parameters:,}",
        "4 trials: 2 arms × 2 seeds (3, 1)",
        "51.2 k",
        "205 k training tokens",
    ):
        assert expected in text


def test_a_folder_goes_on_with_its_plan_and_refuses_another(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "out")

    def adopt(seeds: list[int], **configs: Config) -> None:
        study = Study("demo", "gelu", {arm: Arm() for arm in configs}, seeds)
        with folder.locked():
            folder.adopt(Plan(study, configs))

    gelu, glu = plain_config(), plain_config()
    adopt([3, 1], gelu=gelu, glu=glu)
    adopt([3, 1, 5], gelu=gelu, glu=glu)
    adopt([3, 1, 5], gelu=gelu, glu=glu, geglu=plain_config())
    adopt([3, 1, 5], gelu=plain_config(threads=2, seed=9), glu=glu, geglu=plain_config())  # where and when, not what
    before = folder.plan_file.read_bytes(), folder.study_file.read_bytes()

    with pytest.raises(UserError, match="gelu: train\\.max_steps was 1000, is 60") as caught:
        adopt([3, 1, 5], gelu=plain_config(max_steps=60), glu=glu, geglu=plain_config())
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="seed 1 is gone"):
        adopt([3, 5], gelu=gelu, glu=glu, geglu=plain_config())
    with pytest.raises(UserError, match="arm 'glu' is gone"):
        adopt([3, 1, 5], gelu=gelu, geglu=plain_config())
    assert (folder.plan_file.read_bytes(), folder.study_file.read_bytes()) == before


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="not a study's folder"), StudyFolder(tmp_path / "out").locked():
        pass
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_only_one_process_holds_a_folder(tmp_path: Path) -> None:
    with (
        StudyFolder(tmp_path / "out").locked(),
        pytest.raises(UserError, match="another process"),
        StudyFolder(tmp_path / "out").locked(),
    ):
        pass


def test_a_setting_that_an_older_plan_did_not_know_counts_as_the_default() -> None:
    new = design(from_yaml("{}"))
    old = {key: value for key, value in new.items() if key != "train.beta2"}
    assert differences(old, new) == []
    assert differences(old, {**new, "train.beta2": 0.5}) == [("train.beta2", new["train.beta2"], 0.5)]
