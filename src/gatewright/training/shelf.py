"""Looking at the checkpoints there are, and taking the weights of one elsewhere; only the latter needs PyTorch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gatewright.errors import RunError, UserError, did_you_mean
from gatewright.files import new_folder
from gatewright.reading import read_json_object
from gatewright.run import CHECKPOINTS, CONFIG, TOKENIZER, WEIGHTS, WEIGHTS_INDEX, Run
from gatewright.training.store import MANIFEST, NAME, CheckpointStore, fault, faults, read_manifest, step_of


@dataclass(frozen=True)
class Entry:
    """What is known of a checkpoint without reading its tensors."""

    path: str
    step: int
    bytes: int
    score: float | None
    """What judged it; lower is better. None where no evaluation was taken at its step."""
    best: bool
    fault: str | None
    """What is wrong with it, as far as the sizes of its files tell."""
    age_seconds: float


def find_checkpoints(path: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, or the one that ``path`` is.

    Raises `UserError` where there is none, with the nearest name that there is.
    """
    if not path.is_dir():
        beside = [other.name for other in path.parent.iterdir() if other.is_dir()] if path.parent.is_dir() else []
        raise UserError(f"{path}: there is no such run or checkpoint{did_you_mean(path.name, beside)}")
    if is_checkpoint(path):
        return [path]
    found = Run(path).checkpoints()
    if not found:
        raise UserError(f"{path} has no checkpoints")
    return found


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is a checkpoint rather than a run."""
    named = NAME.fullmatch(path.name) is not None and not (path / CHECKPOINTS).exists()
    return named or (path / MANIFEST).is_file()


def entries(path: Path) -> Iterator[Entry]:
    """What is known of each checkpoint of a run, oldest first."""
    checkpoints = find_checkpoints(path)
    best = CheckpointStore(checkpoints[0].parent).best()
    for found in checkpoints:
        manifest = read_manifest(found)
        score, step = manifest.get("score"), manifest.get("step")
        try:
            files = [file.stat() for file in found.iterdir() if file.is_file()]
        except FileNotFoundError:  # the run goes on, and has just discarded it
            continue
        yield Entry(
            path=str(found),
            step=step_of(found) if NAME.fullmatch(found.name) else step if isinstance(step, int) else 0,
            bytes=sum(file.st_size for file in files),
            score=score if isinstance(score, float) else None,
            best=isinstance(score, float) and found == best,
            fault=next(faults(found, thorough=False), None),
            age_seconds=max(0.0, time.time() - max((file.st_mtime for file in files), default=time.time())),
        )


def export(path: Path, out: Path, which: str | None = None) -> Path:
    """Write the weights of a checkpoint as ``out``, whole: what `transformers` and others open. Returns the checkpoint.

    ``path`` is a checkpoint, or a run: then ``which`` says ``best`` (if left out) or ``last``. ``out`` gets
    ``model.safetensors``, ``config.json``, ``generation_config.json`` if there is one, and the tokenizer of the run;
    it appears as a whole or not at all. Raises `UserError` for an ``out`` that exists, `RunError` for a damaged
    checkpoint and for a disk that cannot be written.
    """
    if out.exists():
        raise UserError(f"{out} exists; choose another folder")
    find_checkpoints(path)
    if is_checkpoint(path):
        if which is not None:
            raise UserError(f"--checkpoint {which} chooses among those of a run, and {path} is one; leave it out")
        checkpoint = path
        if (problem := fault(checkpoint)) is not None:
            raise RunError(problem)
    else:
        checkpoint = Run(path).checkpoint("last" if which == "last" else "best")
    _check_plain(checkpoint)
    with new_folder(out) as temporary:
        if (checkpoint / WEIGHTS).is_file():
            shutil.copyfile(checkpoint / WEIGHTS, temporary / WEIGHTS)
        else:
            _put_together(checkpoint, temporary / WEIGHTS)
        tokenizer = tokenizer_of(checkpoint)
        for file in (
            checkpoint / "config.json",
            checkpoint / "generation_config.json",
            *(sorted(tokenizer.iterdir()) if tokenizer else ()),
        ):
            if file.is_file():
                shutil.copyfile(file, temporary / file.name)
    return checkpoint


def tokenizer_of(checkpoint: Path) -> Path | None:
    """The folder with the tokenizer of the run that a checkpoint lies in, if it does."""
    folder = checkpoint.absolute().parent.parent / TOKENIZER
    return folder if folder.is_dir() else None


def _check_plain(checkpoint: Path) -> None:
    """`UserError` for weights that are not those of the model alone."""
    from gatewright.config import read_config

    rl = read_config(checkpoint / CONFIG).rl
    if rl is not None and rl.lora is not None:
        raise UserError(f"{checkpoint} has adapters beside its weights; gatewright export hf merges them")


def _put_together(checkpoint: Path, whole: Path) -> None:
    """One file of all that the index names."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    from gatewright.training.checkpoint import METADATA

    tensors = {}
    try:
        index = read_json_object(checkpoint / WEIGHTS_INDEX)["weight_map"]
        for name in sorted({Path(file).name for file in index.values()}):
            tensors.update(load_file(checkpoint / name))  # mapped, so that nothing is read before it is written
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"cannot read the weights in {checkpoint}: {error}") from error
    save_file(tensors, whole, metadata=METADATA)
