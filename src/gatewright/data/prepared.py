"""`prepare`: what a configuration of data stands for, one source or a mixture of several, as tokens."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from gatewright.cache import cache_root
from gatewright.data.cache import locked, made_whole
from gatewright.data.corpus import TokenizedCorpus
from gatewright.data.mixture import Mixture
from gatewright.data.preparation import (
    FORMAT,
    Preparation,
    digest,
    folder_name,
    identity,
    make_tokenizer,
    prepare_source,
    progress_bar,
)
from gatewright.data.tokenization import Recipe, load_tokenizer, tokenizer_recipe

if TYPE_CHECKING:
    from gatewright.config import DataConfig


def prepare(config: DataConfig, progress: bool = False, *, verify: bool = False) -> TokenizedCorpus | Mixture:
    """The tokens that ``config`` (``data.*``) asks for, tokenized now or taken from the cache; see `prepare_source`.

    ``verify`` reads all that is there and makes again what was damaged. Raises `UserError` for a corpus or tokenizer
    that cannot be used, `RunError` when the disk is full or the files change while they are read.
    """
    recipe = tokenizer_recipe(config.tokenizer)
    if not config.sources:
        return prepare_source(config, recipe, progress, verify)
    recipe = shared_tokenizer(config, recipe, progress)
    parts = {name: prepare_source(of, recipe, progress, verify) for name, of in config.each_source().items()}
    return Mixture(parts, config.weights())


def shared_tokenizer(config: DataConfig, recipe: Recipe, progress: bool) -> Recipe:
    """The one tokenizer for all sources of a mixture; where it is trained, on the training text of all.

    Weights play no part in it: mixtures of the same sources in other proportions have the same tokens, so that their
    losses can be compared, and nothing is encoded again.
    """
    if recipe.learns_from == 0:
        return recipe
    sources = [Preparation(of, recipe, progress) for of in config.each_source().values()]
    by_text = {digest(identity(source.config, source.fingerprint)): source for source in sources}
    key = digest({"format": FORMAT, "tokenizer": recipe.identity, "texts": sorted(by_text)})
    folder = cache_root(config.cache_dir) / "data" / folder_name("mixture", recipe.name, key)
    if not folder.is_dir():
        with locked(folder):
            if not folder.is_dir():
                with made_whole(folder) as work, progress_bar(progress) as bar:
                    spools = []
                    for text, source in sorted(by_text.items(), key=lambda item: item[0]):
                        (work / text).mkdir(exist_ok=True)
                        spools.append(source.spool(work / text, bar))
                    make_tokenizer(work / "tokenizer", recipe, spools, bar)
                    for text in by_text:
                        shutil.rmtree(work / text)
    tokenizer = load_tokenizer(folder / "tokenizer")
    return Recipe(tokenizer.name, tokenizer.fingerprint(), lambda texts: tokenizer)
