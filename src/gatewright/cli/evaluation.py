"""The verb that judges a model: eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gatewright.cli.app import AsJson, Overrides, Which, app, console, number_text, plain, print_mapping, table
from gatewright.errors import UserError
from gatewright.files import write_atomic


@app.command("eval")
def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            help="a run directory, a folder of a Hugging Face model, or its name", metavar="TARGET", show_default=False
        ),
    ],
    text: Overrides = None,
    checkpoint: Which = "best",
    tokens: Annotated[
        int | None, typer.Option(min=1, help="of a run's own validation text; as in training if left out")
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option("--bytes", min=1, help="of the text that is named; 262144 if left out")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="ask these tasks of lm-eval instead: NAME,NAME")] = None,
    task_path: Annotated[Path | None, typer.Option(help="a folder with task files (YAML)")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="documents of each task; all if left out")] = None,
    num_fewshot: Annotated[int | None, typer.Option(min=0, help="worked examples before each question")] = None,
    block_size: Annotated[int | None, typer.Option(min=1, help="tokens of a window; at most the context")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="windows or requests at once")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="where to compute")] = "auto",
    precision: Annotated[
        Literal["auto", "float32", "bf16", "fp16"] | None, typer.Option(help="a run's own, else float32, if left out")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="also write everything to this file, which must not exist")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model: loss, perplexity per token, word and byte, token accuracy; or the tasks of lm-eval.

    A run is scored on its own validation text, or on the one that data.… names; any other model on the latter, which is
    data=sotu if left out. On the same text and --bytes, all models are scored on the same bytes.

    [bold]gatewright eval runs/x --checkpoint last --tokens 200000[/bold]

    [bold]gatewright eval HuggingFaceTB/SmolLM2-135M data=files data.path=letters[/bold]

    [bold]gatewright eval runs/x --tasks my_task,lambada_openai --task-path my_tasks --limit 100 --json[/bold]
    """
    from gatewright.config import load_config
    from gatewright.evaluate import evaluate_run, evaluate_tasks, evaluate_text, evaluation_text, find_target
    from gatewright.evaluate.target import RunTarget
    from gatewright.evaluate.text import text_config

    named = text_config(text or [])  # before the model, whose parts it may bring
    only_for_tasks = {"--task-path": task_path, "--limit": limit, "--num-fewshot": num_fewshot}
    _check(tasks, {"data.…": named, "--tokens": tokens, "--bytes": max_bytes}, only_for_tasks)
    if out is not None and out.exists():
        raise UserError(f"--out {out}: it exists; choose another name")
    model = find_target(target, checkpoint)
    own_text = isinstance(model, RunTarget) and named is None
    if tokens is not None and not own_text:
        raise UserError("--tokens counts tokens of a run's own validation text; a text is limited by --bytes")
    if max_bytes is not None and own_text:
        raise UserError("--bytes limits a text that is named, such as data=sotu; a run's own is limited by --tokens")

    how: dict[str, Any] = {"block_size": block_size, "batch_size": batch_size, "device": device, "precision": precision}
    outcome: Any
    if tasks is not None:
        names = [name.strip() for name in tasks.split(",") if name.strip()]
        outcome = evaluate_tasks(model, names, task_path=task_path, limit=limit, num_fewshot=num_fewshot, **how)
    elif isinstance(model, RunTarget) and named is None:
        outcome = evaluate_run(model.run, which=checkpoint, tokens=tokens, **how)
    else:
        chosen = evaluation_text(named or load_config().data, **({"max_bytes": max_bytes} if max_bytes else {}))
        outcome = evaluate_text(model, chosen, **how)
    found = {"target": target, **outcome.as_dict()}
    if tasks is None or as_json:
        print_mapping(found, as_json)
    else:
        _print_scores(found)
    if out is not None:
        write_atomic(out, json.dumps(found, indent=2) + "\n")


def _check(tasks: str | None, only_for_text: dict[str, Any], only_for_tasks: dict[str, Any]) -> None:
    """Raise `UserError` for the first option that has no part in what is asked for."""
    misplaced = only_for_tasks if tasks is None else only_for_text
    for name, value in misplaced.items():
        if value is not None:
            why = "goes with --tasks" if tasks is None else "has no part in --tasks, which bring their own text"
            raise UserError(f"{name} {why}")


def _print_scores(found: dict[str, Any]) -> None:
    listing = table(plain(found["target"]), "task", "shots", "documents", "metric", "value", "±")
    for score in found["scores"]:
        metric = score["metric"] if score["filter"] == "none" else f"{score['metric']} ({score['filter']})"
        better = {True: " ↑", False: " ↓", None: ""}[score["higher_is_better"]]
        error = "–" if score["stderr"] is None else number_text(score["stderr"])
        listing.add_row(
            plain(score["task"]), str(score["shots"]), number_text(score["documents"]), plain(metric) + better,
            number_text(score["value"]), error,
        )  # fmt: skip
    console.print(listing)
    for message, times in found["warnings"].items():
        console.print(f"lm-eval warned ({times:,} ×): {message}", highlight=False, markup=False)
