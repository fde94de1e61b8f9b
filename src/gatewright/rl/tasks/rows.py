"""Tasks whose questions are rows of a data set, through ``datasets``."""

from __future__ import annotations

import string
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from gatewright.errors import UserError, did_you_mean
from gatewright.reading import complaint
from gatewright.rl.tasks.base import Split, Task, check_request
from gatewright.rl.tasks.question import Question, normalised, share_of

CARVED_OUT = 0.1
"""The part of the training rows that is for validation, where the data set has no rows for that."""


class RowsTask(Task):
    """Questions of a data set, each with what its own format says.

    ``path`` is another name on the Hugging Face hub, or a folder in that data set's format: its own files, or ones such
    as ``train.jsonl`` and ``test.parquet``. ``subset`` is one of its configurations. A question that occurs again is
    left out, also where a question of ``test`` is in the data set's ``train``: the splits are disjoint.
    """

    source: ClassVar[str]
    """The data set's name on the hub."""
    subsets: ClassVar[tuple[str | None, ...]] = (None,)
    """Its configurations that make up the task."""
    split_names: ClassVar[Mapping[Split, str]] = {"train": "train", "test": "test"}
    """What the data set calls a split. Without one for ``validation``, a fixed tenth of ``train`` is that."""

    def __init__(self, *, path: str | None = None, subset: str | None = None) -> None:
        self.path, self.subset = path, subset

    @abstractmethod
    def read(self, row: Row) -> Question | None:
        """The question of a row, with an empty id to get one by its place; None for a row of no use to the task."""

    def questions(self, split: Split, count: int | None = None, seed: int = 0) -> list[Question]:
        check_request(self, split, count)
        if not (found := list(self._by_split[split])):
            raise UserError(f"task '{self.name}': {self._label} has no rows for '{split}'")
        if count is not None and count > len(found):
            raise UserError(f"count={count}: task '{self.name}' has {len(found)} questions in '{split}'")
        Random(f"{self.name}/{split}/{seed}").shuffle(found)
        return found[:count]

    @cached_property
    def _by_split(self) -> dict[Split, list[Question]]:
        found: dict[Split, list[Question]] = {"train": [], "validation": [], "test": []}
        seen: set[str] = set()
        order: tuple[Split, ...] = ("test", "validation", "train")  # a question in two of them stays in the first
        for split in order:
            for question in self._rows(split):
                key = normalised(question.text)
                carve = split == "train" and "validation" not in self.split_names and share_of(key) < CARVED_OUT
                if key not in seen:
                    seen.add(key)
                    found["validation" if carve else split].append(question)
        return found

    @property
    def _label(self) -> str:
        return self.path or self.source

    def _rows(self, split: Split) -> Iterator[Question]:
        if split not in self.split_names:
            return
        own = self.split_names[split]
        for name, table in self._tables.items():
            for number, values in enumerate(table.get(own, ())):
                question = self.read(Row(values, f"task '{self.name}': {name}, split '{own}', row {number}"))
                if question is not None:
                    known = question.id or f"{own}-{number}"
                    yield Question(known, question.prompt, question.answer, question.columns)

    @cached_property
    def _tables(self) -> dict[str, Any]:
        """The data set's splits, for each of the subsets."""
        from gatewright.data.extras import import_extra
        from gatewright.data.hub import resolve

        datasets = import_extra("datasets", "hf", f"task '{self.name}'")
        path = resolve("path", self.path) if self.path else self.source
        subsets = (self.subset,) if self.subset or self.path else self.subsets
        tables = {}
        for subset in subsets:
            label = f"{path} ({subset})" if subset else path
            try:
                tables[label] = datasets.load_dataset(path, subset)
            except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
                hint = "" if Path(path).is_dir() else "; path=FOLDER reads local files in its format"
                raise UserError(f"task '{self.name}': cannot open {label}: {complaint(error)}{hint}") from error
        return tables


class Row:
    """One row, with errors that say where it stands."""

    def __init__(self, values: Mapping[str, Any], place: str) -> None:
        self.values, self.place = values, place

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def get(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """The value of a column. Raises `UserError` if there is none, or one of another type."""
        if name not in self:
            near = did_you_mean(name, self.values) or f" (columns: {', '.join(self.values)})"
            raise UserError(f"{self.place}: no '{name}'{near}")
        if not isinstance(self.values[name], kind):
            raise self.wrong(name)
        return self.values[name]

    def wrong(self, name: str) -> UserError:
        """The error for a value that cannot be used."""
        return UserError(f"{self.place}: '{name}' cannot be used: {str(self.values[name])[:80]!r}")


def multiple_choice(template: str, question: str, choices: Sequence[str], right: int) -> Question:
    """A question with lettered choices below it; its answer is the letter of number ``right``."""
    letters = string.ascii_uppercase[: len(choices)]
    listed = "\n".join(f"{letter}) {choice}" for letter, choice in zip(letters, choices, strict=True))
    plain = f"{question.strip()}\n{listed}"
    return Question("", template.format(plain), letters[right], {"question": plain, "choices": list(choices)})
