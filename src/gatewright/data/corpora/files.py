"""Documents in local files: plain text, Markdown, JSON lines, Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gatewright.cache import cache_root
from gatewright.data.corpora.base import Corpus, Document, register_corpus
from gatewright.data.corpora.text_file import decode, files_fingerprint, read_text, unreadable
from gatewright.data.extras import import_extra
from gatewright.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from gatewright.config import DataConfig


@register_corpus("files")
class Files(Corpus):
    """``data.path``: one file, or a folder that is searched through in the order of names (hidden files left out).

    ``.txt`` and ``.md`` hold one document each, ``.jsonl`` one a line and ``.parquet`` one a row, both under
    ``data.text_field``. Documents without any text in them are left out. Text is UTF-8.
    """

    options = frozenset({"path", "text_field"})

    def __init__(self, config: DataConfig) -> None:
        super().__init__(config)
        if not config.path:
            raise UserError("data.source=files needs data.path")
        self.path = Path(config.path).expanduser()

    @property
    def label(self) -> str:
        return str(self.path)

    def fingerprint(self) -> str:
        return files_fingerprint(self._files(), cache_root(self.config.cache_dir) / "file-digests")

    def documents(self, split: str) -> Iterator[Document]:
        for path in self._files():
            yield from READERS[path.suffix.lower()](path, self.config.text_field)

    def _files(self) -> list[Path]:
        known = ", ".join(READERS)
        try:
            if self.path.is_file():
                if self.path.suffix.lower() not in READERS:
                    raise UserError(f"{self.path}: not a kind of file that data.source=files reads ({known})")
                return [self.path]
            if not self.path.is_dir():
                beside = [p.name for p in self.path.parent.iterdir()] if self.path.parent.is_dir() else []
                raise UserError(f"data.path={self.path}: no such file or folder{did_you_mean(self.path.name, beside)}")
            inside = (path.relative_to(self.path) for path in self.path.rglob("*"))
            visible = (path for path in inside if not any(part.startswith(".") for part in path.parts))
            found = [self.path / path for path in sorted(visible, key=Path.as_posix) if path.suffix.lower() in READERS]
            found = [path for path in found if path.is_file()]
        except OSError as error:
            raise unreadable(self.path, error) from error
        if not found:
            raise UserError(f"{self.path}: no {known} files in this folder")
        return found


def _read_plain(path: Path, field: str) -> Iterator[Document]:
    yield Document(read_text(path), str(path))


def _read_jsonl(path: Path, field: str) -> Iterator[Document]:
    try:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, start=1):
                origin = f"{path}, line {number}"
                line = decode(raw, origin)
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise UserError(f"{origin}: not JSON ({error})") from error
                if not isinstance(record, dict):
                    raise UserError(f"{origin}: expected an object with '{field}', got {type(record).__name__}")
                if field not in record:
                    raise no_field(origin, field, list(record))
                if not isinstance(record[field], str):
                    raise UserError(f"{origin}: '{field}' is not text but {type(record[field]).__name__}")
                yield Document(record[field], origin)
    except OSError as error:
        raise unreadable(path, error) from error


def _read_parquet(path: Path, field: str) -> Iterator[Document]:
    pyarrow = import_extra("pyarrow", "hf", f"{path}: reading Parquet")
    parquet = import_extra("pyarrow.parquet", "hf", f"{path}: reading Parquet")
    try:
        with parquet.ParquetFile(path) as file:
            columns = file.schema_arrow
            if field not in columns.names:
                raise no_field(str(path), field, columns.names)
            kind = columns.field(field).type
            value = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
            types = pyarrow.types
            if not (types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)):
                raise UserError(f"{path}: column '{field}' is not text but {kind}")
            row = 0
            for batch in file.iter_batches(batch_size=256, columns=[field]):
                for text in batch.column(0).to_pylist():
                    row += 1
                    if text is not None:
                        yield Document(text, f"{path}, row {row}")
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: not a sound Parquet file ({first_line(error)})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, row {row + 1} or later: not UTF-8 text in '{field}'") from error
    except OSError as error:
        raise unreadable(path, error) from error


def no_field(origin: str, field: str, known: list[str]) -> UserError:
    """The error for a ``data.text_field`` that the records of ``origin`` do not have."""
    listed = ", ".join(known) or "none"
    return UserError(f"{origin}: no field data.text_field={field}{did_you_mean(field, known)} (fields: {listed})")


def first_line(error: BaseException) -> str:
    """The first line of what another library had to say."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


READERS: dict[str, Callable[[Path, str], Iterator[Document]]] = {
    ".txt": _read_plain,
    ".md": _read_plain,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
"""How each kind of file is read, by its ending."""
