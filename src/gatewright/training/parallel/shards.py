"""Checkpoints in parts, by torch.distributed.checkpoint: each process writes its share, and any number of them reads.

Everything is in safetensors files. Those of the weights hold whole tensors, with an index, as Hugging Face shards a
model. Those of the optimizer's memory hold slices, of which DCP notes in the file where they belong. Reading takes
either, and a single whole file as well; a process reads the slices that it needs.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from gatewright.run import WEIGHTS
from gatewright.training.parallel.base import OPTIMIZER


def part_name(whole: str, number: int, count: int) -> str:
    """``model-00001-of-00002.safetensors`` for ``model.safetensors``."""
    return f"{Path(whole).stem}-{number + 1:05}-of-{count:05}.safetensors"


def place(sizes: Mapping[str, int], processes: int) -> dict[str, Any]:
    """Hugging Face's index of weights with these numbers of bytes, shared out evenly over as many files."""
    load = [0] * processes
    files: dict[str, str] = {}
    for name in sorted(sizes, key=lambda name: -sizes[name]):  # the large ones first
        least = load.index(min(load))
        load[least] += sizes[name]
        files[name] = part_name(WEIGHTS, least, processes)
    return {"metadata": {"total_size": sum(load)}, "weight_map": {name: files[name] for name in sizes}}


def held(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU; of a DTensor, of this process's share."""
    stager = DefaultStager(StagingOptions(False, False, False, False))
    return cast(dict[str, Tensor], stager.stage(tensors))


def write_optimizer(folder: Path, tensors: dict[str, Tensor], group: Any, rank: int, processes: int) -> list[str]:
    """Write this process's share into a file of its own; the names of what it wrote. All have to call it.

    Of a tensor that several processes have whole, one writes it. Whatever goes wrong in one process is raised in all.
    """
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        save(cast(dict[str, Any], tensors), storage_writer=writer, process_group=group)
    except CheckpointException as error:
        raise _cause(error) from None
    written = folder / f"shard-{rank + 1:05}-model-00001-of-00001.safetensors"  # as the writer names it
    if not written.exists():  # there are fewer tensors than processes
        return []
    return [written.rename(folder / part_name(OPTIMIZER, rank, processes)).name]


def read_model(folder: Path, model: nn.Module) -> None:
    """Fill ``model`` from the weights in ``folder``; `RuntimeError` if the names or shapes are not the model's."""
    found = _described(folder, WEIGHTS)
    state, names = model.state_dict(), dict[int, list[str]]()
    for name, tensor in model.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), []).append(name)  # a tied weight is found under one of its names
    stored = [next((name for name in alike if name in found), None) for alike in names.values()]
    absent = [alike[0] for alike, name in zip(names.values(), stored, strict=True) if name is None]
    unexpected = sorted(found.keys() - state.keys())
    if absent or unexpected:
        raise RuntimeError(f"missing: {absent}, not in the model: {unexpected}")
    _read(folder, WEIGHTS, {name: state[name] for name in stored if name is not None})


def read_optimizer(folder: Path, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """What ``folder`` has of the optimizer's memory of ``parameters``, shared out as these are."""
    found = _described(folder, OPTIMIZER)
    wanted = {path: parameters[name] for path in found if (name := path.partition("/")[2]) in parameters}
    tensors = {path: _room(found[path], parameter) for path, parameter in wanted.items()}
    _read(folder, OPTIMIZER, tensors)
    return tensors


def _room(stored: TensorStorageMetadata, parameter: nn.Parameter) -> Tensor:
    """Memory for a tensor, shared out as ``parameter`` is if it has its shape (a step counter has not)."""
    if isinstance(parameter, DTensor) and stored.size == parameter.shape:
        return torch.zeros_like(parameter, dtype=stored.properties.dtype, requires_grad=False)
    return torch.zeros(stored.size, dtype=stored.properties.dtype)


class _Only(FileSystem):
    """A folder in which only the file ``whole`` and its parts are seen: DCP's reader takes all there are."""

    def __init__(self, whole: str) -> None:
        self.pattern = re.compile(rf"{Path(whole).stem}(-\d{{5}}-of-\d{{5}})?\.safetensors")

    def ls(self, path: Any) -> list[str]:
        return [found for found in super().ls(path) if self.pattern.fullmatch(Path(found).name)]


def _reader(folder: Path, whole: str) -> HuggingFaceStorageReader:
    reader = HuggingFaceStorageReader(str(folder))
    reader.fs = _Only(whole)
    return reader


def _described(folder: Path, whole: str) -> dict[str, TensorStorageMetadata]:
    """Type and shape of each tensor, as if all parts were one."""
    found = cast(dict[str, TensorStorageMetadata], _reader(folder, whole).read_metadata().state_dict_metadata)
    if not found:
        raise FileNotFoundError(f"{folder} has neither {whole} nor parts of it")
    return found


def _read(folder: Path, whole: str, tensors: dict[str, Tensor]) -> None:
    """Fill ``tensors`` in place. Each process reads for itself, so nobody has to wait for anybody."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        try:
            load(cast(dict[str, Any], tensors), storage_reader=_reader(folder, whole), no_dist=True)
        except CheckpointException as error:
            raise _cause(error) from None


def _cause(error: CheckpointException) -> Exception:
    """What went wrong first: DCP's own error is none of Python's ordinary ones."""
    rank, (cause, _) = min(error.failures.items())
    if isinstance(cause, OSError):
        return OSError(cause.errno, f"{cause.strerror or cause} (process {rank})")
    return cause if isinstance(cause, Exception) else RuntimeError(str(cause))
