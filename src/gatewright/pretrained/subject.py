"""A model of transformers as the subject of a run."""

from __future__ import annotations

import json
from typing import Any

import torch
from transformers import PreTrainedModel

from gatewright.config import Config
from gatewright.pretrained.cost import pretrained_cost
from gatewright.pretrained.name import pretrained_name
from gatewright.pretrained.opening import open_source
from gatewright.pretrained.source import Source
from gatewright.surgery import Report
from gatewright.training.banner import cost_rows
from gatewright.training.console import si
from gatewright.training.subject import Subject, subject_memory


def open_pretrained(source: Source, config: Config, device: torch.device) -> Subject:
    """The model of ``source`` with the gates of ``config.patch``, ready to be trained. Raises `UserError`."""
    model, report = open_source(source, config)
    cost, name = pretrained_cost(model.hf, config.model.block_size), pretrained_name(model.hf)
    memory = subject_memory(config)
    return Subject(
        model=model.to(device),
        architecture=name,
        cost=cost,
        files=describe(model.hf),
        rows={"architecture": name, "  init": source.name, **_patch_rows(model.hf, report), **cost_rows(cost, memory)},
    )


def describe(model: PreTrainedModel) -> dict[str, dict[str, Any]]:
    """The files with which transformers opens what is saved of ``model``, and generates with it."""
    config = json.loads(model.config.to_json_string())
    files = {"config.json": {**config, "architectures": [type(model).__name__], "dtype": "float32"}}
    if model.generation_config is not None:
        files["generation_config.json"] = json.loads(model.generation_config.to_json_string())
    return files


def _patch_rows(model: PreTrainedModel, report: Report | None) -> dict[str, str]:
    rows = {}
    if report is not None:
        gates = ", ".join(dict.fromkeys(report.gates))
        rows["  gates"] = f"{gates} in {len(report.modules)} of {report.found} feed-forward blocks"
        rows["  at the start"] = "the trained model, bit for bit" if report.unchanged else "not the trained model"
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if trained < sum(parameter.numel() for parameter in model.parameters()):
        rows["  trained"] = f"{si(trained, '')} parameters, α alone"
    return rows
