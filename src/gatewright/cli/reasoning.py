"""Verbs for reasoning tasks: prepare, train, eval, sample."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from gatewright.cli.app import INTERRUPTED, AsJson, ConfigFile, Overrides, Which, app, console, plain, table

rl_app = typer.Typer(no_args_is_help=True, help="Reinforcement learning of reasoning, along paths that may listen.")
app.add_typer(rl_app, name="rl")

Reasoner = Annotated[
    str, typer.Argument(help="a run directory, or a Hugging Face model", metavar="TARGET", show_default=False)
]
TaskName = Annotated[str | None, typer.Option("--task", help="a task by name; the run's own if left out")]
Split = Annotated[Literal["validation", "test"], typer.Option(help="which held-out questions")]
Similarity = Annotated[str | None, typer.Option(help="whom paths hear; the run's own, or cosine, if left out")]
BlendWeight = Annotated[float | None, typer.Option(min=0, max=1, help="λ; the run's own, or 0.1, if left out")]
Chat = Annotated[
    bool | None,
    typer.Option("--chat/--no-chat", help="put questions in the model's chat format; as in the run if left out"),
]
Temperature = Annotated[float | None, typer.Option(help="T of listening; the run's own, or 0.1, if left out")]


@rl_app.command()
def prepare(overrides: Overrides = None, config: ConfigFile = None) -> None:
    """Train a tiny reasoner on a task's demonstrations, faults included: the start of reinforcement learning.

    [bold]gatewright rl prepare task=chain_sum out=runs/reasoner[/bold]

    A matter of minutes on a CPU. It is [bold]gatewright train scale=reasoner[/bold]; everything can be overridden.
    """
    _train("scale", "reasoner", overrides, config)


@rl_app.command()
def train(overrides: Overrides = None, config: ConfigFile = None) -> None:
    """Go on from a reasoner by reinforcement learning; its paths may listen to one another (M3PO).

    [bold]gatewright rl train task=chain_sum init=runs/reasoner rl.similarity=jsd rl.paths=8 rl.blend_weight=0.1
    rl.temperature=0.1 rl.steps=50 out=runs/m3po[/bold]

    It is [bold]gatewright train rl=grpo[/bold]; other recipes are named likewise. Without rl.similarity paths do not
    listen: plain GRPO.
    """
    _train("rl", "grpo", overrides, config)


def _train(group: str, preset: str, overrides: list[str] | None, config: ConfigFile) -> None:
    from gatewright.config import load_config
    from gatewright.errors import UserError
    from gatewright.training import train

    given = list(overrides or [])
    if config is None and not any(text.startswith(f"{group}=") for text in given):
        given.insert(0, f"{group}={preset}")
    wanted = load_config(given, config)
    if wanted.task is None:
        from gatewright.rl.tasks import list_tasks

        raise UserError(f"task= is missing: name one of {', '.join(list_tasks())}")
    if group == "scale" and wanted.rl is not None:
        raise UserError("rl is set: that is reinforcement learning: gatewright rl train")
    if group == "rl" and wanted.rl is None:
        raise UserError("rl is null: that is supervised learning: gatewright rl prepare")
    if train(wanted).status == "interrupted":
        raise typer.Exit(INTERRUPTED)


@rl_app.command("eval")
def evaluate(
    target: Reasoner,
    task: TaskName = None,
    split: Split = "test",
    questions: Annotated[int, typer.Option(min=1, help="held-out questions, or all there are")] = 500,
    samples: Annotated[int, typer.Option(min=2, help="paths of each question")] = 8,
    similarity: Similarity = None,
    blend_weight: BlendWeight = None,
    temperature: Temperature = None,
    chat: Chat = None,
    checkpoint: Which = "best",
    as_json: AsJson = False,
) -> None:
    """Ask held-out questions: one greedy path, samples, their vote, and paths that listen.

    [bold]gatewright rl eval runs/m3po --questions 500 --samples 8[/bold]

    Any model can be asked: [bold]gatewright rl eval runs/reasoner --task gcd[/bold],
    [bold]gatewright rl eval Qwen/Qwen2.5-1.5B-Instruct --task gsm8k --chat[/bold].
    """
    from gatewright.evaluate import find_target
    from gatewright.rl.judging import judge, open_reasoner

    rl = _gate(similarity, blend_weight, temperature)
    reasoner = open_reasoner(find_target(target, checkpoint), task=task, rl=rl, chat=chat)
    found = judge(reasoner, split=split, questions=questions, samples=samples)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
        return
    listing = table(f"{found.task}: {found.questions} questions of its {found.split} split", "", "right", "95 %")
    listing.add_row("one greedy path", *_share(found.greedy))
    listing.add_row("one sampled path", f"{found.sampled:.1%}", "")
    for k, share in found.pass_at.items():
        if k > 1:
            listing.add_row(f"one of {k} samples (pass@{k})", f"{share:.1%}", "")
    listing.add_row(f"the vote of {found.samples} samples", *_share(found.majority))
    listing.add_row(f"one of {found.samples} listening paths ({plain(found.gate)})", f"{found.gated:.1%}", "")
    listing.add_row(f"the vote of {found.samples} listening paths", *_share(found.gated_majority))
    console.print(listing)
    raised, late = found.scoring["raised"], found.scoring["timed_out"]
    troubles = f"; the scorer raised {raised} times and timed out {late} times" if raised or late else ""
    console.print(f"{found.contamination:.1%} of the questions occur in training questions{troubles}.", highlight=False)


@rl_app.command()
def sample(
    target: Reasoner,
    prompt: Annotated[list[str] | None, typer.Option(help="a question of your own; may be given several times")] = None,
    questions: Annotated[int, typer.Option(min=1, help="held-out questions, where no prompt is given")] = 1,
    task: TaskName = None,
    split: Split = "test",
    paths: Annotated[int, typer.Option(min=1, help="paths of each question")] = 8,
    similarity: Similarity = None,
    blend_weight: BlendWeight = None,
    temperature: Temperature = None,
    chat: Chat = None,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
    checkpoint: Which = "best",
    as_json: AsJson = False,
) -> None:
    """Show the paths of a question, and who heard whom.

    [bold]gatewright rl sample runs/m3po --questions 1 --paths 4[/bold]

    In the lower table, '7'<2 says that a path drew 7 and heard path 2 most, '7'<* that it heard all alike.
    """
    from gatewright.evaluate import find_target
    from gatewright.rl.judging import open_reasoner
    from gatewright.rl.showing import show

    rl = _gate(similarity, blend_weight, temperature)
    shown = show(
        open_reasoner(find_target(target, checkpoint), task=task, rl=rl, chat=chat),
        prompts=prompt,
        questions=questions,
        split=split,
        paths=paths,
        seed=seed,
    )
    if as_json:
        print(json.dumps([one.record for one in shown], indent=2))
        return
    for one in shown:
        listing = table(plain(one.title), "path", "wrote", "reward")
        for number, path in enumerate(one.record["paths"]):
            listing.add_row(str(number), plain(path["text"]), "–" if path["reward"] is None else f"{path['reward']:g}")
        console.print(listing)
        console.print(one.picture or "Nobody heard anybody.", highlight=False, markup=False, soft_wrap=True)


def _gate(similarity: str | None, blend_weight: float | None, temperature: float | None) -> Any:
    """The gate that is asked for; None: the model's own."""
    from gatewright.config import RLConfig

    if similarity is None and blend_weight is None and temperature is None:
        return None
    weight = 0.1 if blend_weight is None else blend_weight
    made = RLConfig(similarity=similarity or "cosine", blend_weight=weight, temperature=temperature)
    made.validate()
    return made


def _share(share: Any) -> tuple[str, str]:
    return f"{share.share:.1%}", f"{share.low:.1%} – {share.high:.1%}"
