"""The model card: what stands in the README.md of a Hugging Face folder."""

from __future__ import annotations

import dataclasses
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import jinja2

from gatewright.config import to_yaml
from gatewright.model.cost import ModelCost, cost
from gatewright.model.language_model import LanguageModel
from gatewright.model.name import architecture_name
from gatewright.pretrained.cost import pretrained_cost
from gatewright.pretrained.model import PretrainedModel
from gatewright.pretrained.name import pretrained_name
from gatewright.run import Run
from gatewright.training.store import step_of

TEMPLATE = "model_card.md.j2"

_OUTCOME = {
    "best_val_loss": "lowest validation loss (nats per token)",
    "best_val_step": "at step",
    "final_val_loss": "validation loss of the last evaluation",
    "val_perplexity": "perplexity per token",
    "val_perplexity_word": "perplexity per word",
    "val_perplexity_byte": "perplexity per byte",
    "val_token_accuracy": "token accuracy",
    "final_train_loss": "training loss",
    "steps": "steps",
    "tokens": "training tokens",
    "seed": "seed",
    "status": "status of the run",
}
"""What of summary.json is shown, and how it is called."""


def describe_model(model: LanguageModel | PretrainedModel) -> dict[str, Any]:
    """What can be said of any model."""
    counted: ModelCost
    if isinstance(model, PretrainedModel):
        counted, name = pretrained_cost(model.hf, model.block_size), pretrained_name(model.hf)
        longest = getattr(model.hf.config, "max_position_embeddings", model.block_size)
        vocabulary, config = model.hf.config.get_text_config().vocab_size, model.hf.config.to_json_string()
    else:
        counted, name, longest = cost(model), architecture_name(model), model.block_size
        vocabulary, config = model.embedding.num_embeddings, to_yaml(model.config)
    return {
        "architecture": name,
        "facts": {
            "parameters": counted.parameters,
            "active parameters": counted.active_parameters,
            "FLOPs per token, forward": counted.forward_flops_per_token,
            "longest sequence": longest,
            "vocabulary": vocabulary,
        },
        "config": config,
    }


def describe_run(run: Run, checkpoint: Path) -> dict[str, Any]:
    """What can be said of a run and of the checkpoint that was taken from it."""
    summary, environment = run.summary or {}, run.environment
    data = environment.get("data", {})
    source = ", ".join(str(value) for value in data.get("source", {}).values() if value is not None)
    # where things lay on this machine is nobody's business
    plugins = {Path(path).name: content for path, content in run.config.plugins.items()}
    named = dataclasses.replace(run.config.data, tokenizer=_placeless(run.config.data.tokenizer))
    init = run.config.init and _placeless(run.config.init)
    config = dataclasses.replace(run.config, out=None, plugins=plugins, init=init, data=named)
    return {
        "step": step_of(checkpoint),
        "outcome": {words: summary[key] for key, words in _OUTCOME.items() if summary.get(key) is not None},
        "source": source or run.config.data.source,
        "data": data,
        "tokenizer": _placeless(run.tokenizer.name),
        "config": to_yaml(config),
    }


def render(name: str, class_name: str, opened: Literal["ours", "patched", "native"], notes: dict[str, Any]) -> str:
    """The card of the folder ``name``, which holds a model of the class ``class_name``; ``opened``: how to open it."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    template = environment.from_string(files("gatewright.hf").joinpath(TEMPLATE).read_text(encoding="utf-8"))
    defaults: dict[str, Any] = {"step": None, "outcome": {}, "source": None, "data": {}, "tokenizer": None}
    return template.render(name=name, class_name=class_name, opened=opened, **{**defaults, **notes})


def _placeless(name: str) -> str:
    """A name on the hub as it is, of a folder or file the last part."""
    return Path(name).name if Path(name).expanduser().exists() else name
