"""From documents to tokens on disk, once."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gatewright.cache import cache_root
from gatewright.data.cache import locked, made_whole, workshop
from gatewright.data.corpora import open_corpus
from gatewright.data.corpus import INDEX, TokenizedCorpus, damaged, read_index, shards_of
from gatewright.data.encoding import encode
from gatewright.data.shards import SPLITS, Job, Shard, finished, made, plan, record_of, shard_files, token_dtype
from gatewright.data.spool import Spool, spool_documents
from gatewright.data.tokenization import Recipe, Tokenizer, load_tokenizer
from gatewright.errors import RunError

if TYPE_CHECKING:
    from gatewright.config import DataConfig

FORMAT = 2
"""Of the prepared folder and of everything that decides what it holds; a new number leaves old folders alone."""

READ_AT_EVERY_START = 2**26
"""Bytes of prepared tokens up to which their digests are compared at every start; of more, the files' sizes are."""


def prepare_source(config: DataConfig, recipe: Recipe, progress: bool, verify: bool) -> TokenizedCorpus:
    """One source, with the tokenizer of ``recipe``, tokenized now or taken from the cache.

    The cache's folder is keyed by the fingerprint of the source, the identity of the tokenizer and the parameters of
    the split; where it is there already, nothing is encoded again. Otherwise the folder is made under a temporary name
    and renamed when complete. A preparation that was killed leaves nothing that looks finished and goes on after the
    last whole shard; a second process waits for the first. Shards that were damaged since are made again, with a
    warning: files of the wrong size are noticed at every start, other contents in small corpora and with ``verify``.

    Raises `UserError` for a corpus that cannot be used, `RunError` when the disk is full or the files change while they
    are read.
    """
    preparation = Preparation(config, recipe, progress)
    folder = preparation.folder
    index = read_index(folder)
    if index is None or damaged(folder, index, verify or _is_small(index)):
        with locked(folder):  # another process may have made it meanwhile
            if (index := read_index(folder)) is None:
                if folder.exists():
                    warnings.warn(f"{folder}: the index is damaged, all is made again", RuntimeWarning, stacklevel=3)
                preparation.make()
            elif wrong := damaged(folder, index, verify or _is_small(index)):
                preparation.make_again(index, wrong)
    source = {"name": config.source, "path": config.path, "subset": config.subset}
    return TokenizedCorpus.open(folder, preparation.corpus.label, source)


class Preparation:
    """One corpus, one tokenizer, and the folder in the cache that they lead to."""

    def __init__(self, config: DataConfig, recipe: Recipe, progress: bool) -> None:
        self.config, self.recipe, self.progress = config, recipe, progress
        self.corpus = open_corpus(config)
        self.fingerprint = self.corpus.fingerprint()
        key = digest({"format": FORMAT, **identity(config, self.fingerprint), "tokenizer": recipe.identity})
        self.folder = cache_root(config.cache_dir) / "data" / folder_name(config.source, recipe.name, key)

    def make(self) -> None:
        """Read, learn a tokenizer, encode: each once, whatever is left of an earlier attempt."""
        with made_whole(self.folder) as work, progress_bar(self.progress) as bar:
            spool = self.spool(work, bar)
            tokenizer = make_tokenizer(work / "tokenizer", self.recipe, [spool], bar)
            jobs = plan(spool)
            found = self.encode(work, jobs, spool, bar)
            index = self.index(spool, tokenizer)
            index["splits"] = {split: [asdict(found[job]) for job in jobs if job.split == split] for split in SPLITS}
            for job in jobs:
                record_of(work, job).unlink()
            shutil.rmtree(spool.folder)
            (work / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")

    def make_again(self, index: dict[str, Any], wrong: Sequence[str]) -> None:
        """Replace the shards ``wrong`` of a finished folder; the others stay where runs may be reading them."""
        names = ", ".join(wrong)
        warnings.warn(f"{self.folder}: {names} damaged, made again", RuntimeWarning, stacklevel=4)
        with workshop(self.folder) as work, progress_bar(self.progress) as bar:
            shutil.copytree(self.folder / "tokenizer", work / "tokenizer", dirs_exist_ok=True)
            spool = self.spool(work, bar)
            jobs = [job for job in plan(spool) if job.name in wrong]
            found = self.encode(work, jobs, spool, bar)
            for job in jobs:
                if found[job] != shards_of(index, job.split)[job.number]:
                    raise RunError(f"{self.folder}: {job.name} did not become what it was; delete the folder")
            for job in jobs:
                for new, old in zip(shard_files(work, job.name), shard_files(self.folder, job.name), strict=True):
                    new.replace(old)
        if damaged(self.folder, index, contents=False):
            raise RunError(f"{self.folder}: the index does not fit its shards; delete the folder")

    def spool(self, work: Path, bar: Progress) -> Spool:
        """The documents, read now unless an earlier attempt has read them all."""
        folder = work / "spool"
        if (spool := Spool.open(folder)) is not None:
            return spool
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        reading = bar.add_task(f"reading {escape(self.corpus.label)}", total=None, unit="documents")
        spool = spool_documents(self.corpus, self.config, folder, lambda: bar.advance(reading))
        bar.update(reading, total=bar.tasks[reading].completed)
        if self.corpus.fingerprint() != self.fingerprint:
            shutil.rmtree(work)
            raise RunError(f"{self.corpus.label}: changed while it was being read; start again")
        return spool.finish()

    def encode(self, work: Path, jobs: Sequence[Job], spool: Spool, bar: Progress) -> dict[Job, Shard]:
        """What is known of the shards ``jobs``, after those that were not there are made."""
        found = {job: shard for job in jobs if (shard := made(work, job)) is not None}
        total, done = sum(size.bytes for size in spool.sizes.values()), sum(shard.bytes for shard in found.values())
        encoding = bar.add_task("encoding", total=total, completed=done, unit="bytes")
        missing = [job for job in jobs if job not in found]
        encode(work, missing, spool, self.config.processes, lambda count: bar.advance(encoding, count))
        return {job: finished(work, job) for job in jobs}

    def index(self, spool: Spool, tokenizer: Tokenizer) -> dict[str, Any]:
        """What is known of the folder besides its shards."""
        return {
            "format": FORMAT,
            "content_sha256": spool.content_sha256,
            "division": _division(spool, self.config),
            "tokenizer": {
                "name": tokenizer.name,
                "vocab_size": tokenizer.vocab_size,
                "eot_id": tokenizer.eot_id,
                "sha256": tokenizer.fingerprint(),
            },
            "dtype": token_dtype(tokenizer.vocab_size),
        }


def make_tokenizer(folder: Path, recipe: Recipe, spools: Sequence[Spool], bar: Progress) -> Tokenizer:
    """The tokenizer in ``folder``, learnt from all ``spools`` and saved there unless an earlier attempt has done so."""
    if not folder.is_dir():
        learning = bar.add_task(f"tokenizer {escape(recipe.name)}", total=1, unit="")
        size = sum(spool.sizes["train"].bytes for spool in spools)
        every = max(1, -(-size // recipe.learns_from)) if recipe.learns_from else 1
        tokenizer = recipe.build(lambda: chain.from_iterable(spool.texts("train", every=every) for spool in spools))
        temporary = folder.with_name(f".{folder.name}")
        tokenizer.save(temporary)
        temporary.rename(folder)
        bar.advance(learning)
    return load_tokenizer(folder)


def identity(config: DataConfig, fingerprint: str) -> dict[str, Any]:
    """All that decides which documents there are and how they are divided."""
    return {
        "source": config.source,
        "fingerprint": fingerprint,
        "text_field": config.text_field,
        "max_documents": config.max_documents,
        "split_seed": config.split_seed,
        "validation_fraction": config.validation_fraction,
    }


def digest(decisive: Any) -> str:
    """The hash of whatever can be written as JSON."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def folder_name(source: str, tokenizer: str, key: str) -> str:
    """``sotu-bpe-1024-`` and 16 digits of ``key``."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{source}-{Path(tokenizer).name}")
    return f"{readable[:60]}-{key[:16]}"


def _is_small(index: dict[str, Any]) -> bool:
    width = int(index["dtype"][-1])
    tokens = sum(shard.tokens for split in SPLITS for shard in shards_of(index, split))
    return width * tokens <= READ_AT_EVERY_START


def _division(spool: Spool, config: DataConfig) -> dict[str, Any]:
    facts: dict[str, Any] = {"by": spool.divided_by, "max_documents": config.max_documents}
    if spool.divided_by != "source":
        facts |= {"validation_fraction": config.validation_fraction}
    if spool.divided_by == "document":
        facts |= {"seed": config.split_seed}
    return facts


@contextmanager
def progress_bar(shown: bool) -> Iterator[Progress]:
    """A display of what is done and what is left, on standard error."""
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
