"""lm-eval's tasks on our runs: its numbers against those worked out from our own models."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluated_runs import SENTENCE, corpus, train

import gatewright as gw
from gatewright.errors import UserError
from gatewright.evaluate import evaluate_tasks, evaluate_text, find_target
from gatewright.evaluate.target import RunTarget
from gatewright.evaluate.tasks import TaskEvaluation
from gatewright.evaluate.text import EvaluationText
from gatewright.hf import save
from gatewright.run import Run

pytest.importorskip("lm_eval", reason="needs the extra eval")

import datasets
import lm_eval.evaluator
import lm_eval.tasks.manager
from lm_eval.models.huggingface import HFLM

QUESTIONS = ["It was the", "times.\nIt was", "the wørst of"]
CHOICES = ["best of", "wørst", "times"]
PAGES = [SENTENCE * 8, "It was the best.", SENTENCE + "times of " * 30]
STOP = "\n"

CHOICE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/questions.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: gold
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
PAGE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/pages.jsonl}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: page
metric_list: [{{metric: word_perplexity}}, {{metric: byte_perplexity}}, {{metric: bits_per_byte}}]
"""
CONTINUE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/continued.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: answer
generation_kwargs: {{until: ["\\n"], max_gen_toks: 6}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
GROUP = """
group: both
task: [choose, continue]
aggregate_metric_list: [{{metric: acc, weight_by_size: true}}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return train(folder, "llama", corpus(folder))


@pytest.fixture(scope="module", autouse=True)
def small_world(folder: Path) -> Iterator[None]:
    """A cache of data sets of our own, an lm-eval that brings no tasks, and no survey of the machine in each result."""
    (folder / "lm_eval").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
        patch.setattr(lm_eval.tasks.manager, "__file__", str(folder / "lm_eval" / "manager.py"))
        patch.setattr(lm_eval.evaluator, "add_env_info", lambda results: None)
        yield


def greedy(run: Run, prompt: str) -> str:
    (tokens,) = gw.generate(run.model(), [run.tokenizer.encode(prompt)], max_new_tokens=6, end_id=run.tokenizer.eot_id)
    return run.tokenizer.decode(tokens).split(STOP)[0]


@pytest.fixture(scope="module")
def tasks(folder: Path, run: Run) -> Path:
    place = folder / "mine"
    place.mkdir()
    continued = [{"question": q, "answer": greedy(run, q)} for q in QUESTIONS]
    continued[1]["answer"] += " and not this"
    rows = {
        "questions": [{"question": q, "choices": CHOICES, "gold": n} for n, q in enumerate(QUESTIONS)],
        "pages": [{"page": page} for page in PAGES],
        "continued": continued,
    }
    for name, lines in rows.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, content in {"choose": CHOICE, "read": PAGE, "continue": CONTINUE, "both": GROUP}.items():
        (place / f"{name}.yaml").write_text(content.format(name=name, folder=place))
    return place


ASKED: dict[str, Any] = {"choose": 3, "read": 3, "continue": 3}


@pytest.fixture(scope="module")
def asked(run: Run, tasks: Path) -> tuple[TaskEvaluation, dict[str, list[Any]]]:
    """What the run scores, and every request that lm-eval made of it with the answer it got."""
    made: dict[str, list[Any]] = {}
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("loglikelihood", "loglikelihood_rolling"):
            method = getattr(HFLM, kind)

            def recorded(self: HFLM, requests: list[Any], kind: str = kind, method: Any = method) -> list[Any]:
                answers = method(self, requests)
                made[kind] = [(request.args, answer) for request, answer in zip(requests, answers, strict=True)]
                return answers

            patch.setattr(HFLM, kind, recorded)
        return evaluate_tasks(find_target(str(run.path)), list(ASKED), task_path=tasks), made


@torch.no_grad()
def loglikelihood(run: Run, given: list[int], continuation: list[int]) -> tuple[float, bool]:
    """The ln p of ``continuation`` after ``given``, token by token, and whether it is the likeliest one."""
    model, total, likeliest = run.model(), 0.0, True
    for place, token in enumerate(continuation):
        logits = model(torch.tensor([given + continuation[:place]])).logits[0, -1].double()
        total += logits.log_softmax(-1)[token].item()
        likeliest &= int(logits.argmax()) == token
    return total, likeliest


def test_loglikelihoods_are_those_of_our_model(run: Run, asked: tuple[TaskEvaluation, dict[str, list[Any]]]) -> None:
    outcome, made = asked
    encode = run.tokenizer.encode
    assert [args for args, _ in made["loglikelihood"]] == [(q, f" {c}") for q in QUESTIONS for c in CHOICES]
    values = []
    for (question, choice), answer in made["loglikelihood"]:
        given, whole = encode(question), encode(question + choice)
        expected, likeliest = loglikelihood(run, given, whole[len(given) :])
        assert answer == (pytest.approx(expected, abs=1e-4), likeliest)
        values.append(expected)
    hits = [values[3 * n : 3 * n + 3].index(max(values[3 * n : 3 * n + 3])) == n for n in range(3)]
    score = outcome.scores[0]
    assert (score.task, score.metric, score.documents, score.shots) == ("choose", "acc", 3, 0)
    assert score.value == pytest.approx(sum(hits) / 3)
    assert score.higher_is_better is True
    share = score.value
    assert score.stderr == pytest.approx(math.sqrt(share * (1 - share) / 2), abs=1e-9)


def test_pages_are_scored_as_texts_are(run: Run, asked: tuple[TaskEvaluation, dict[str, list[Any]]]) -> None:
    outcome, made = asked
    assert sum(len(run.tokenizer.encode(page)) > 32 for page in PAGES) == 2
    origin = {"source": {"name": "files", "path": None, "subset": None}, "content_sha256": "", "division": {}}
    for ((page,), answer), expected in zip(made["loglikelihood_rolling"], PAGES, strict=True):
        assert page == expected
        ours = evaluate_text(find_target(str(run.path)), EvaluationText((page,), origin)).evaluation
        assert answer == pytest.approx(-ours.val_loss * ours.tokens, abs=1e-3)
    whole = evaluate_text(find_target(str(run.path)), EvaluationText(tuple(PAGES), origin)).evaluation
    found = {score.metric: score for score in outcome.scores if score.task == "read"}
    assert found["byte_perplexity"].value == pytest.approx(whole.val_perplexity_byte, rel=1e-5)
    assert found["bits_per_byte"].value == pytest.approx(math.log2(whole.val_perplexity_byte or 0), rel=1e-5)
    assert found["word_perplexity"].stderr is None


def test_texts_are_continued_as_we_continue_them(asked: tuple[TaskEvaluation, dict[str, list[Any]]]) -> None:
    (score,) = [score for score in asked[0].scores if score.task == "continue"]
    assert (score.metric, score.value) == ("exact_match", pytest.approx(2 / 3))
    assert score.stderr == pytest.approx(1 / 3)


def test_a_native_export_scores_alike_in_plain_transformers(
    run: Run, tasks: Path, folder: Path, asked: tuple[TaskEvaluation, dict[str, list[Any]]]
) -> None:
    place = save(run, folder / "native", native=True)
    target = find_target(str(place))
    assert type(target.load("float32")).__module__ == "transformers.models.llama.modeling_llama"
    found = evaluate_tasks(target, list(ASKED), task_path=tasks)
    assert len(found.scores) == len(asked[0].scores) == 5
    for theirs, ours in zip(found.scores, asked[0].scores, strict=True):
        assert (theirs.task, theirs.metric, theirs.documents) == (ours.task, ours.metric, ours.documents)
        assert theirs.value == pytest.approx(ours.value, rel=1e-4)


def test_options_reach_lm_eval(run: Run, tasks: Path) -> None:
    target = find_target(str(run.path))
    shown = evaluate_tasks(target, ["choose"], task_path=tasks, limit=2, num_fewshot=1, block_size=4, batch_size=3)
    (score,) = shown.scores
    assert (score.documents, score.shots, shown.limit) == (2, 1, 2)
    (warning,) = shown.warnings
    assert warning.startswith("Combined length of context (N) and continuation (N) exceeds model's maximum length (N)")
    assert shown.warnings[warning] > 1
    rough = evaluate_tasks(target, ["both"], task_path=tasks, precision="bf16")
    assert rough.precision == "bf16"
    assert {score.task for score in rough.scores} == {"both", "choose", "continue"}
    assert evaluate_tasks(target, [str(tasks / "choose.yaml")]).scores[0].task == "choose"


def test_a_group_may_have_members_of_lm_evals_own(run: Run, tasks: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "lm_eval" / "theirs.yaml").write_text(CHOICE.format(name="theirs", folder=tasks))
    (tmp_path / "group.yaml").write_text("group: mixed\ntask: [theirs]\n")
    (score,) = evaluate_tasks(find_target(str(run.path)), ["mixed"], task_path=tmp_path, limit=1).scores
    assert (score.task, score.documents) == ("theirs", 1)


def test_functions_of_a_task_file_may_print(
    run: Run, tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text("def ask(doc):\n    print('asked')\n    return doc['question']\n")
    content = CHOICE.format(name="own", folder=tasks).replace("doc_to_text: question", "doc_to_text: !function own.ask")
    (tmp_path / "own.yaml").write_text(content)
    (score,) = evaluate_tasks(find_target(str(run.path)), ["own"], task_path=tmp_path).scores
    assert score.task == "own"
    printed = capsys.readouterr()
    assert "asked" in printed.err
    assert printed.out == ""  # where the JSON goes


BAD = {
    "unknown": ("chose", "", "unknown task 'chose'; did you mean 'choose'?"),
    "broken": ("broken", "task: [broken", "unknown task 'broken'"),
    "no such file": ("bad", CHOICE.replace("questions.jsonl", "nothing.jsonl"), "task bad cannot be loaded (FileNotF"),
    "no such field": ("bad", CHOICE.replace(": question", ': "{{{{qestion}}}}"'), "'qestion' is undefined"),
    "no such split": (
        "bad",
        CHOICE.replace("test_split: test", "test_split: tset"),
        "cannot be loaded (KeyError: 'tset'",
    ),
    "a metric that is mistyped": ("bad", PAGE.replace("bits_per", "bit_per"), "did you mean 'bits_per_byte'?"),
    "a metric of the hub": ("bad", CHOICE.replace("metric: acc", "metric: a/b"), "code from the hub is not executed"),
    "too long": (
        "bad",
        CONTINUE.replace("max_gen_toks: 6", "max_gen_toks: 32"),
        "generates 32 tokens, which leaves no",
    ),
    "too long by itself": ("bad", CONTINUE.replace(", max_gen_toks: 6", ""), "generates 256 tokens, which leaves no"),
    "executes answers": ("bad", CONTINUE + "unsafe_code: true\n", "executes what the model writes"),
    "asked for twice": ("both,choose", "", "Duplicate task 'choose'"),
    "none": (",", "", "--tasks names no task"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_mistakes_are_found_before_any_weights_are_read(
    mistake: str,
    run: Run,
    tasks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(RunTarget, "load_for_transformers", load)
    names, content, said = BAD[mistake]
    for file in tasks.iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    if content:
        (tmp_path / "more.yaml").write_text(content.format(name="bad", folder=tasks) if "{{" in content else content)
    with pytest.raises(UserError) as error:
        evaluate_tasks(find_target(str(run.path)), [n for n in names.split(",") if n], task_path=tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not caplog.records
    if mistake == "broken":
        assert "more.yaml (while parsing a flow sequence" in str(error.value)


def test_without_lm_eval_the_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UserError, match=r"--tasks needs the package 'lm_eval' \(pip install gatewright\[eval\]\)"):
        evaluate_tasks(find_target(str(run.path)), ["choose"])


def test_lm_eval_and_lightning_are_not_imported_unless_asked_for() -> None:
    program = """
import sys, gatewright, gatewright.cli, gatewright.surgery, gatewright.evaluate
import gatewright.evaluate.perplexity, gatewright.evaluate.pretrained, gatewright.evaluate.tasks
print({"lm_eval", "lightning", "evaluate", "transformers"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
