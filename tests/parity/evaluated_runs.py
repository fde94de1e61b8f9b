"""Tiny trained runs, with a tokenizer of each kind, for the tests that score them."""

from __future__ import annotations

from pathlib import Path

import gatewright as gw
from gatewright.run import Run

SENTENCE = "It was the best of tïmes;\tit was the wørst of times.\n"
TINY = [
    "train.precision=float32",
    *("model.n_layer=2", "model.n_head=2", "model.n_embd=32", "model.block_size=32", "data=files"),
    *("train.batch_size=4", "train.max_steps=12", "train.eval_every=6", "train.save_every=6", "train.eval_tokens=256"),
    *("train.tensorboard=false", "train.learning_rate=0.02", "data.validation_fraction=0.4"),
]
DESIGNS = {
    "llama": ["model=llama", "data.tokenizer=bpe-300"],
    "gpt2": ["model=gpt2", "data.tokenizer=char"],
    "paglu": ["model=small", "model.feedforward=paglu", "model.alpha=learnable", "data.tokenizer=byte"],
}


def corpus(folder: Path) -> list[str]:
    """Overrides that name a small corpus, which is written to ``folder``; two of its five documents are held out."""
    place = folder / "corpus"
    place.mkdir()
    for number in range(5):
        (place / f"{number}.txt").write_text(SENTENCE * (number + 3), encoding="utf-8")
    return ["data=files", f"data.path={place}", f"data.cache_dir={folder / 'cache'}", "data.validation_fraction=0.4"]


def train(folder: Path, name: str, text: list[str]) -> Run:
    """One of the designs, trained for a moment."""
    preset, *own = DESIGNS[name]
    return gw.train(gw.load_config([preset, *TINY, *text, *own, f"out={folder / name}"]))
