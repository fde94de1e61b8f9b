"""From documents to tokens on disk, once."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gatewright.cache import cache_root
from gatewright.data.cache import locked, made_whole
from gatewright.data.corpora import Corpus, open_corpus
from gatewright.data.corpus import INDEX, SPLITS, TokenizedCorpus, read_index
from gatewright.data.shards import token_dtype, write_shard
from gatewright.data.spool import Spool, spool_documents
from gatewright.data.tokenization import Recipe, tokenizer_recipe
from gatewright.errors import RunError

if TYPE_CHECKING:
    from gatewright.config import DataConfig

FORMAT = 1
"""Of the prepared folder and of everything that decides what it holds; a new number leaves old folders alone."""


def prepare(config: DataConfig, progress: bool = False) -> TokenizedCorpus:
    """The tokens that ``config`` (``data.*``) asks for, tokenized now or taken from the cache.

    The cache's folder is keyed by the fingerprint of the source, the identity of the tokenizer and the parameters of
    the split; where it is there already, nothing is encoded again. Otherwise the folder is made under a temporary name
    and renamed when complete, so that a killed preparation leaves nothing that looks finished, and a second process
    waits for the first. Training text is what trains a tokenizer; validation text never does.

    Raises `UserError` for a corpus or tokenizer that cannot be used, `RunError` when the disk is full or the files
    change while they are read.
    """
    corpus = open_corpus(config)
    recipe = tokenizer_recipe(config.tokenizer)
    fingerprint = corpus.fingerprint()
    folder = cache_root(config.cache_dir) / "data" / _folder_name(config, recipe, fingerprint)
    if read_index(folder) is None:
        with locked(folder):
            if read_index(folder) is None:  # nobody made it while this process waited
                if folder.exists():
                    warnings.warn(f"{folder}: the prepared data are damaged; made again", RuntimeWarning, stacklevel=2)
                with made_whole(folder) as temporary:
                    _prepare_into(temporary, corpus, config, recipe, progress)
                    if corpus.fingerprint() != fingerprint:
                        raise RunError(f"{corpus.label}: changed while it was being read; start again")
    source = {"name": config.source, "path": config.path, "subset": config.subset}
    return TokenizedCorpus.open(folder, corpus.label, source)


def _folder_name(config: DataConfig, recipe: Recipe, fingerprint: str) -> str:
    """``sotu-bpe-1024-`` and 16 digits of the hash of all that decides the content."""
    decisive = {
        "format": FORMAT,
        "source": config.source,
        "fingerprint": fingerprint,
        "text_field": config.text_field,
        "max_documents": config.max_documents,
        "split_seed": config.split_seed,
        "validation_fraction": config.validation_fraction,
        "tokenizer": recipe.identity,
    }
    key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{config.source}-{Path(recipe.name).name}")
    return f"{readable[:60]}-{key[:16]}"


def _prepare_into(folder: Path, corpus: Corpus, config: DataConfig, recipe: Recipe, progress: bool) -> None:
    with _progress(progress) as bar:
        reading = bar.add_task(f"reading {escape(corpus.label)}", total=None, unit="documents")
        spool = spool_documents(corpus, config, folder / "documents.txt", lambda: bar.advance(reading))
        bar.update(reading, total=bar.tasks[reading].completed)

        learning = bar.add_task(f"tokenizer {escape(recipe.name)}", total=1, unit="")
        tokenizer = recipe.build(lambda: spool.texts("train"))
        tokenizer.save(folder / "tokenizer")
        bar.advance(learning)

        size = sum(int((spans[:, 1] - spans[:, 0]).sum()) for spans in spool.splits.values())
        encoding = bar.add_task("encoding", total=size, unit="bytes")
        shards = {
            split: write_shard(folder, split, spool.texts(split), tokenizer, lambda n: bar.advance(encoding, n))
            for split in SPLITS
        }
    spool.path.unlink()
    index = {
        "format": FORMAT,
        "content_sha256": spool.content_sha256,
        "division": _division(spool, config),
        "tokenizer": {
            "name": tokenizer.name,
            "vocab_size": tokenizer.vocab_size,
            "eot_id": tokenizer.eot_id,
            "sha256": tokenizer.fingerprint(),
        },
        "dtype": token_dtype(tokenizer.vocab_size),
        "splits": {split: shard.as_dict() for split, shard in shards.items()},
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _division(spool: Spool, config: DataConfig) -> dict[str, Any]:
    facts: dict[str, Any] = {"by": spool.divided_by, "max_documents": config.max_documents}
    if spool.divided_by != "source":
        facts |= {"validation_fraction": config.validation_fraction}
    if spool.divided_by == "document":
        facts |= {"seed": config.split_seed}
    return facts


@contextmanager
def _progress(shown: bool) -> Iterator[Progress]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} {task.fields[unit]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as progress:
        yield progress
