"""Checkpoints in parts, as one process sees them; several processes are in ``tests/invariant/test_parallel.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gatewright.errors import RunError
from gatewright.training.checkpoint import load_weights
from gatewright.training.parallel.shards import held, place, read_model, read_optimizer, write_optimizer


def test_files_share_the_bytes_evenly_and_every_tensor_is_in_one() -> None:
    sizes = {f"layer.{number}": 10 + number for number in range(20)} | {"embedding": 150}
    index = place(sizes, 3)
    assert list(index["weight_map"]) == list(sizes)
    held_by: dict[str, int] = {}
    for name, file in index["weight_map"].items():
        held_by[file] = held_by.get(file, 0) + sizes[name]
    assert sorted(held_by) == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert sum(held_by.values()) == index["metadata"]["total_size"] == sum(sizes.values())
    assert max(held_by.values()) - min(held_by.values()) <= 30


def test_what_is_held_is_a_copy() -> None:
    tensor = torch.ones(4)
    copy = held({"a": tensor, "step": torch.tensor(3.0)})
    tensor.zero_()
    assert copy["a"].tolist() == [1, 1, 1, 1]
    assert copy["step"].item() == 3


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_memory_of_any_type_and_shape_comes_back(tmp_path: Path) -> None:
    written = {
        "exp_avg/a.weight": torch.randn(3, 2, dtype=torch.bfloat16),
        "step/a.weight": torch.tensor(7.0),
        "count/a.weight": torch.tensor(3),
        "exp_avg/b": torch.randn(2),
    }
    assert write_optimizer(tmp_path, dict(written), None, 0, 1) == ["optimizer-00001-of-00001.safetensors"]
    save_file({"exp_avg/b": torch.zeros(5)}, tmp_path / "model.safetensors")  # not to be looked at
    parameters = {"a.weight": nn.Parameter(torch.zeros(3, 2)), "b": nn.Parameter(torch.zeros(2))}
    read = read_optimizer(tmp_path, parameters)
    assert read.keys() == written.keys()
    for path, tensor in written.items():
        assert read[path].dtype == tensor.dtype
        assert torch.equal(read[path], tensor), path
    assert list(read_optimizer(tmp_path, {"b": parameters["b"]})) == ["exp_avg/b"]


def test_weights_in_parts_fill_a_model_of_their_names_and_shapes_only(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[2].weight = model[1].weight
    state = {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items() if name != "1.weight"}
    names = list(state)  # the tied weight under its second name
    for number, part in enumerate((names[:1], names[1:]), start=1):
        save_file({name: state[name] for name in part}, tmp_path / f"model-0000{number}-of-00002.safetensors")
    read_model(tmp_path, model)
    assert all(torch.equal(model.state_dict()[name], state[name]) for name in names)
    assert model[1].weight is model[2].weight

    with pytest.raises(RunError, match=r"missing: \['1.weight', '1.bias'\], not in the model: \[\]"):
        load_weights(tmp_path, nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 3, bias=False)))
    with pytest.raises(RunError, match=r"cannot load the weights in .*Size mismatch between saved .*for 0\.weight$"):
        load_weights(tmp_path, nn.Sequential(nn.Linear(4, 3), model[1], model[2]))
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match="cannot load the weights"):
        load_weights(tmp_path, model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"has neither model.safetensors nor parts of it"):
        load_weights(tmp_path / "empty", model)
