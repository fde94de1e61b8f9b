"""Data sets through ``datasets``, all local, with a WikiText in the layout of the hub's."""

from __future__ import annotations

import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gatewright.config import DataConfig
from gatewright.data import open_corpus, prepare
from gatewright.data.corpora.articles import documents_from_rows
from gatewright.errors import UserError

CARD = """---
configs:
- config_name: wikitext-tiny-raw-v1
  data_files:
  - {split: train, path: wikitext-tiny-raw-v1/train-*}
  - {split: validation, path: wikitext-tiny-raw-v1/validation-*}
  - {split: test, path: wikitext-tiny-raw-v1/test-*}
---
"""


def article(title: str) -> list[str]:
    """The rows of one article as in WikiText-103 (raw), among them two lines that only look like titles."""
    return [
        "",
        f" = {title} = \n",
        "",
        f" {title} is an article . \n",
        " = not a title = \n",
        "",
        " It goes on . \n",
        "",
        " = = Section = = \n",
        "",
        " = nor this = \n",
        f" More on {title} . \n",
        "",
    ]


def joined(title: str) -> str:
    return (
        f" = {title} = \n\n {title} is an article . \n = not a title = \n\n It goes on . \n\n"
        f" = = Section = = \n\n = nor this = \n More on {title} . \n\n\n"
    )


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No look at the hub, and a cache of its own for `datasets`."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")


@pytest.fixture
def wikitext(tmp_path: Path) -> Path:
    """Four training articles, one validation article and one test article."""
    folder = tmp_path / "wikitext" / "wikitext-tiny-raw-v1"
    folder.mkdir(parents=True)
    (tmp_path / "wikitext" / "README.md").write_text(CARD)
    for split, titles in {"train": "ABCD", "validation": "V", "test": "T"}.items():
        rows = [row for title in titles for row in article(title)]
        pq.write_table(pa.table({"text": rows}), folder / f"{split}-00000-of-00001.parquet")
    return tmp_path / "wikitext"


def wikitext_config(folder: Path, **others) -> DataConfig:
    options = {"source": "huggingface", "path": str(folder), "subset": "wikitext-tiny-raw-v1", "tokenizer": "byte"}
    return DataConfig(**{**options, **others})


@pytest.mark.parametrize("streaming", [False, True])
def test_wikitext_gives_articles_in_its_own_splits(wikitext, streaming):
    data = prepare(wikitext_config(wikitext, streaming=streaming))
    train = [data.tokenizer.decode(data.train.document(i)) for i in range(data.train.documents)]
    validation = [data.tokenizer.decode(data.validation.document(i)) for i in range(data.validation.documents)]
    # The blank row before a title belongs to the article before it.
    assert train[:3] == [joined(title) for title in "ABC"]
    assert train[3] == joined("D").removesuffix("\n")
    assert validation == [joined("V").removesuffix("\n")]
    assert data.describe()["division"] == {"by": "source", "max_documents": None}


def test_streamed_and_stored_data_share_the_prepared_tokens(wikitext):
    stored = prepare(wikitext_config(wikitext))
    assert prepare(wikitext_config(wikitext, streaming=True)).folder == stored.folder


def test_a_cache_hit_does_not_open_the_rows(wikitext, monkeypatch):
    first = prepare(wikitext_config(wikitext))

    def fail(*args, **kwargs):
        raise AssertionError("opened the rows again")

    monkeypatch.setattr(datasets.DatasetBuilder, "download_and_prepare", fail)
    monkeypatch.setattr(datasets.DatasetBuilder, "as_streaming_dataset", fail)
    assert prepare(wikitext_config(wikitext)).folder == first.folder


def test_max_documents_holds_for_each_split(wikitext):
    data = prepare(wikitext_config(wikitext, max_documents=2))
    assert (data.train.documents, data.validation.documents) == (2, 1)


def test_changed_files_change_the_fingerprint(wikitext):
    before = open_corpus(wikitext_config(wikitext)).fingerprint()
    assert open_corpus(wikitext_config(wikitext)).fingerprint() == before
    path = next(wikitext.rglob("train-*.parquet"))
    pq.write_table(pa.table({"text": article("Other")}), path)
    assert open_corpus(wikitext_config(wikitext)).fingerprint() != before


def test_a_train_split_alone_is_divided_by_document(tmp_path, documents):
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({"body": documents}), tmp_path / "set" / "train.parquet")
    pq.write_table(pa.table({"body": ["never used"]}), tmp_path / "set" / "test.parquet")
    data = prepare(DataConfig(source="huggingface", path=str(tmp_path / "set"), text_field="body", tokenizer="byte"))
    assert (data.train.documents, data.validation.documents) == (19, 1)
    assert data.describe()["division"]["by"] == "document"


@pytest.mark.parametrize("divided", [False, True])
def test_a_folder_of_save_to_disk(tmp_path, documents, divided):
    rows = datasets.Dataset.from_dict({"text": documents})
    saved = datasets.DatasetDict({"train": rows, "validation": rows.select([0])}) if divided else rows
    saved.save_to_disk(tmp_path / "saved")
    config = DataConfig(source="huggingface", path=str(tmp_path / "saved"), tokenizer="byte")
    data = prepare(config)
    assert (data.train.documents, data.validation.documents) == ((20, 1) if divided else (19, 1))
    assert prepare(config).folder == data.folder
    with pytest.raises(UserError, match="do not apply to a folder of save_to_disk"):
        prepare(DataConfig(source="huggingface", path=str(tmp_path / "saved"), streaming=True))


def test_rows_are_joined_only_where_they_are_lines_of_articles():
    assert list(documents_from_rows(["", "one", "", "two\n"])) == ["one", "", "two\n"]
    assert list(documents_from_rows([])) == []
    assert list(documents_from_rows(["", " "])) == []
    assert list(documents_from_rows([" = A = ", "", " text ", "", " = B = ", "", " more "])) == [
        " = A = \n\n text \n\n",
        " = B = \n\n more \n",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subset": "wikitext-tiny"}, "BuilderConfig 'wikitext-tiny' not found"),
        ({"text_field": "texts"}, "no field data.text_field=texts; did you mean 'text'?"),
        ({"path": "no-such/dataset", "subset": None}, "data.path=no-such/dataset: "),
        ({"path": "~/no/such/folder", "subset": None}, "data.path=~/no/such/folder: no such folder"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_mistakes_are_one_line(wikitext, options, message, streaming):
    with pytest.raises(UserError) as raised:
        prepare(wikitext_config(wikitext, **{**options, "streaming": streaming}))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("streaming", [False, True])
def test_unusable_local_files(tmp_path, streaming):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="broken") as raised:
        prepare(DataConfig(source="huggingface", path=str(tmp_path / "broken"), streaming=streaming))
    assert "\n" not in str(raised.value)

    (tmp_path / "numbers").mkdir()
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "numbers" / "train.parquet")
    with pytest.raises(UserError, match="numbers: column 'text' is not text but int"):
        prepare(DataConfig(source="huggingface", path=str(tmp_path / "numbers"), streaming=streaming))


def test_several_splits_without_a_train_split(tmp_path):
    (tmp_path / "odd").mkdir()
    for split in ("validation", "test"):
        pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "odd" / f"{split}.parquet")
    with pytest.raises(UserError, match=r"odd: has no split named train \(splits: validation, test\)"):
        prepare(DataConfig(source="huggingface", path=str(tmp_path / "odd")))


def test_missing_datasets_names_the_extra(wikitext, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        UserError, match=r"data.source=huggingface needs .* 'datasets' \(pip install gatewright\[hf\]\)"
    ):
        prepare(wikitext_config(wikitext))
