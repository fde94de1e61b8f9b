"""The verb that plans a training past this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli.app import AsJson, ConfigFile, app, console, plain, table

if TYPE_CHECKING:
    from gatewright.planning import Plan

Words = Annotated[
    list[str] | None,
    typer.Argument(help="the model (model=…, model.…) and what is planned (gpus=64 kind=h100)", metavar="KEY=VALUE"),
]


@app.command("plan")
def plan_training(words: Words = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Plan a training past this machine: memory by mode, speed, days, and what scaling laws say of its size.

    [bold]gatewright plan model=llama model.n_layer=32 gpus=64 kind=h100 tokens=100e9[/bold]

    [bold]gatewright plan model=gpt2 gpus=8 kind=a100 mode=ddp micro_batch=16 days=2[/bold]

    [bold]gatewright plan model=gpt2 flops=1e20[/bold]

    Length: tokens, days, or flops (C = 6ND).

    Machine: gpus, kind, per_node, network (Gbit/s a device).

    Use: mode (none, ddp, zero1, fsdp2), recompute (none, feedforward, blocks), precision, batch_tokens,
    micro_batch, mfu (0.4 assumes 40 %).

    What is left out is chosen, and the choice is printed. With --config the model is that of the file.
    """
    from gatewright.planning import plan, read_request

    request, model = read_request(words or [], config)
    made = plan(model, request)
    if as_json:
        print(json.dumps(made.to_dict(), indent=2))
        return
    _print_head(made)
    _print_memory(made)
    _print_time(made)
    _print_scaling(made)
    console.print("Assumed:", *(f"- {plain(line)}" for line in made.assumptions()), sep="\n", highlight=False)


def _print_head(made: Plan) -> None:
    request, choice, subject = made.request, made.choice, made.subject
    console.print(f"[bold]{plain(subject.architecture)}[/bold]", highlight=False)
    machine = f"{_number(subject.cost.parameters)} parameters on {request.gpus:,} x {request.kind}, {request.precision}"
    batch = (
        f"{made.batch_tokens:,} tokens = {request.gpus:,} devices x {choice.micro_batches:,} micro-batches x "
        f"{choice.micro_batch:,} sequences x {subject.model.block_size:,}"
    )
    chosen = f"mode {choice.mode}, recompute {choice.recompute}, batch of {batch}"
    console.print(f"{machine}: {chosen}", highlight=False)
    if not choice.fits:
        needed = f"fsdp2 would on {made.needed:,}, without accumulation" if made.needed else "more devices do not help"
        console.print(f"[red]Does not fit[/red]: {needed}; its speed below is hypothetical.", highlight=False)


def _print_memory(made: Plan) -> None:
    title = f"Memory of a device in GiB, of {made.memory_limit / 2**30:,.1f} that may be filled"
    listing = table(title, "use", *made.memory)
    listing.min_width = len(title)
    for column in listing.columns[1:]:
        column.justify = "right"
    for use in made.memory[made.choice.mode]:
        if any(sizes[use] for sizes in made.memory.values()):
            listing.add_row(use, *(_gib(sizes[use]) for sizes in made.memory.values()))
    listing.add_row("all", *(_gib(sum(sizes.values())) for sizes in made.memory.values()), style="bold")
    console.print(listing)
    names = list(made.largest[made.choice.mode])
    own = made.choice.micro_batch * made.choice.micro_batches
    title = f"Largest micro-batch that fits, of {own:,} sequences a device and step"
    fitting = table(title, "recompute", *made.largest)
    fitting.min_width = len(title)
    for name in names:
        sizes = (f"{made.largest[mode][name]:,}" for mode in made.largest)
        fitting.add_row(name, *("-" if size == "0" else size for size in sizes))
    console.print(fitting)


def _print_time(made: Plan) -> None:
    speed, request = made.speed, made.request
    listing = table("Time", "", "")
    listing.show_header = False
    parts = f"passes {_seconds(speed.passes)}, update {_seconds(speed.update)}, exposed {_seconds(speed.exposed)}"
    listing.add_row("step", _seconds(speed.step) if request.mfu else f"{_seconds(speed.step)} ({parts})")
    if speed.communication:
        apart = f"; a step with nothing hidden {_seconds(speed.unhidden)}" if request.mfu is None else ""
        sent = f"{_number(speed.sent)}B a device in {_seconds(speed.communication)}{apart}"
        listing.add_row("communication", sent)
    listing.add_row("MFU", f"{made.mfu:.1%}")
    per_second = made.tokens_per_second
    listing.add_row("tokens per second", f"{per_second:,.0f}, a device {per_second / request.gpus:,.0f}")
    listing.add_row("tokens per day", _number(per_second * 86_400))
    listing.add_row("training", f"{_number(made.tokens)} tokens ({made.length})")
    listing.add_row("FLOPs", f"{made.tokens * made.subject.cost.flops_per_token:.3g}")
    listing.add_row("days", f"{_count(made.days)}, GPU-hours {_count(made.days * 24 * request.gpus)}")
    console.print(listing)


def _print_scaling(made: Plan) -> None:
    found = made.scaling()
    title = f"Scaling laws at C = 6ND = {found['flops']:.3g} FLOPs"
    listing = table(title, "law", "best size", "tokens", "loss", "loss here", "excess")
    for name, law in found["laws"].items():
        best = (_number(law["best_parameters"]), _number(law["best_tokens"]), f"{law['best_loss']:.3f}")
        listing.add_row(name, *best, f"{law['loss']:.3f}", f"{law['excess_loss']:.3f}")
    console.print(listing)
    name, law = next(iter(found["laws"].items()))
    console.print(
        f"{_number(found['parameters'])} parameters are {found['parameters'] / law['best_parameters']:.3g} x the best "
        f"size by {name}, with {found['tokens'] / found['parameters']:,.3g} tokens each. Losses are nats per token of "
        "the laws' own text." + (" Beyond the runs the laws were fitted on." if found["extrapolated"] else ""),
        highlight=False,
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f}" if size > 2**30 or not size else f"{size / 2**30:.2g}"


def _number(value: float) -> str:
    """``1.24e8`` as ``124 M``."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} "


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"
