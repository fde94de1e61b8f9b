"""A trained model before and after α-only training: the same at α = 0, and what α learns on the default corpus.

    python benchmarks/trained_model.py FOLDER --out runs/smollm2

FOLDER is a Hugging Face folder, a GGUF file or the folder of one. Four perplexities over the same validation tokens:
the model as it is, patched at α = 0, after training, and reloaded from the run's last checkpoint. The first two have to
be equal bit for bit, and so have the last two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import gatewright as gw
from gatewright.data import evaluation_batches, prepare, text_units
from gatewright.evaluate.language_modeling import Evaluation, evaluate
from gatewright.hardware.device import resolve_device
from gatewright.pretrained.model import PretrainedModel
from gatewright.pretrained.opening import open_source
from gatewright.pretrained.source import find_source
from gatewright.surgery import load_patched, patch
from gatewright.training.precision import Precision, resolve_precision

console = Console()


def main(
    folder: Annotated[str, typer.Argument(help="the trained model")],
    out: Annotated[Path, typer.Option(help="the run directory to write")],
    steps: Annotated[int, typer.Option(help="steps of α-only training")] = 200,
    block_size: Annotated[int, typer.Option(help="tokens of a sequence")] = 256,
    batch_size: Annotated[int, typer.Option(help="sequences of a step")] = 1,
    eval_tokens: Annotated[int, typer.Option(help="validation tokens that are scored")] = 8192,
    precision: Annotated[str, typer.Option(help="float32, bf16 or auto")] = "auto",
    learning_rate: Annotated[float, typer.Option(help="of α")] = 1e-2,
) -> None:
    """Patch, score, train α, score, reload, score."""
    config = gw.load_config([
        f"init={folder}", "data=sotu", f"model.block_size={block_size}", f"out={out}", "patch.gate=paglu",
        "patch.train=alpha", f"train.max_steps={steps}", f"train.batch_size={batch_size}",
        f"train.learning_rate={learning_rate}", f"train.precision={precision}", f"train.eval_tokens={eval_tokens}",
        f"train.eval_every={steps}", f"train.save_every={steps}", "train.log_every=10", "train.tensorboard=false",
    ])  # fmt: skip
    data = prepare(config.data, progress=True)
    batches = evaluation_batches(data.validation, block_size, batch_size, eval_tokens)
    device = resolve_device(config.device)
    arithmetic = Precision(resolve_precision(precision, device), device)

    def score(model: PretrainedModel) -> Evaluation:
        return evaluate(model.to(device), batches, units=text_units(data, batches), autocast=arithmetic.autocast)

    given, config.patch = config.patch, None
    model, _ = open_source(find_source(folder), config)
    config.patch = given
    found = {"as it is": score(model)}
    console.print(str(patch(model.hf, "paglu", alpha=0.0)), highlight=False)
    found["patched, α = 0"] = score(model)
    del model
    run = gw.train(config, console=console)
    reloaded = PretrainedModel(load_patched(run.checkpoint("last")), block_size)
    trained = run.model("last")
    assert isinstance(trained, PretrainedModel)
    found[f"after {steps} steps of α alone"], found["reloaded"] = score(trained), score(reloaded)
    shown = Table("model", "loss", "perplexity per token", "per word", "per byte", "token accuracy")
    for name, result in found.items():
        numbers = [result.val_loss, result.val_perplexity, result.val_perplexity_word, result.val_perplexity_byte]
        shown.add_row(name, *(f"{number:.4f}" for number in [*numbers, result.val_token_accuracy]))
    console.print(shown)
    console.print("α by block: " + " ".join(f"{value:.4f}" for value in reloaded.alphas().values()), highlight=False)
    before, zero, after, again = (result.val_loss for result in found.values())
    if before != zero or after != again:
        raise SystemExit("not the same: patching at α = 0, or saving and reloading, changed the model")


if __name__ == "__main__":
    typer.run(main)
