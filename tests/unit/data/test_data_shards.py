"""Shards: the same bytes however they are made, resumed after an end of any kind, made again where damaged."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.data import BlockSampler, TokenArray, TokenizedCorpus, encoding, preparation, prepare, shards
from gatewright.data.shards import Shard
from gatewright.data.spool import Spool
from gatewright.data.tokenization import bpe
from gatewright.errors import RunError


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 3 kB: the twenty documents, of 0.6 kB each, make a handful."""
    monkeypatch.setattr(shards, "SMALLEST", 3000)
    monkeypatch.setattr(shards, "LARGEST", 3000)


def contents(data: TokenizedCorpus) -> dict[str, bytes]:
    """Every file of the folder."""
    return {str(path.relative_to(data.folder)): path.read_bytes() for path in data.folder.rglob("*") if path.is_file()}


def names(data: TokenizedCorpus) -> list[str]:
    return sorted(path.stem for path in data.folder.glob("*.bin"))


@pytest.mark.parametrize("tokenizer", ["byte", "bpe-300"])
def test_the_same_bytes_whatever_the_number_of_processes(jsonl, tmp_path, files_config, small_shards, tokenizer):
    options = {"tokenizer": tokenizer, "validation_fraction": 0.3}
    one = prepare(files_config(jsonl, processes=1, cache_dir=str(tmp_path / "one"), **options))
    two = prepare(files_config(jsonl, processes=2, cache_dir=str(tmp_path / "two"), **options))
    assert len(names(one)) == 5
    assert contents(one) == contents(two)
    assert one.folder.name == two.folder.name


def test_shards_hold_what_one_file_would(jsonl, tmp_path, files_config, monkeypatch):
    whole = prepare(files_config(jsonl, cache_dir=str(tmp_path / "whole")))
    assert names(whole) == ["train-00000", "validation-00000"]
    monkeypatch.setattr(shards, "SMALLEST", 3000)
    monkeypatch.setattr(shards, "LARGEST", 3000)
    parts = prepare(files_config(jsonl, processes=1))
    assert len(names(parts)) == 5
    facts, expected = parts.describe(), whole.describe()
    assert facts["train"].pop("shards") == len(names(parts)) - 1
    expected["train"].pop("shards")
    for split in ("train", "validation"):  # digests are those of shards
        facts[split].pop("sha256")
        expected[split].pop("sha256")
    assert facts == expected
    for ours, theirs in ((parts.train, whole.train), (parts.validation, whole.validation)):
        assert ours[:].tolist() == theirs[:].tolist()
        assert [ours.document(i).tolist() for i in range(ours.documents)] == [
            theirs.document(i).tolist() for i in range(theirs.documents)
        ]
    sizes = [shard["bytes"] for shard in parts.index["splits"]["train"]]
    assert all(3000 <= size < 5000 for size in sizes[:-1])


def test_training_batches_do_not_know_about_shards(jsonl, files_config, small_shards):
    train = prepare(files_config(jsonl, processes=1)).train
    ours, plain = (BlockSampler(tokens, 96, 7, seed=3) for tokens in (train, train[:]))
    for step in range(3 * ours.windows_per_epoch // 7):
        for mine, theirs in zip(ours.batch(step), plain.batch(step), strict=True):
            assert mine.tolist() == theirs.tolist()


@pytest.fixture(scope="module")
def split_array(tmp_path_factory: pytest.TempPathFactory) -> TokenArray:
    """The numbers 0 to 99 in shards of 30, 1, 40 and 29, seven to a document where that is possible."""
    folder, first, parts = tmp_path_factory.mktemp("tokens"), 0, []
    for number, size in enumerate((30, 1, 40, 29)):
        tokens, offsets = shards.shard_files(folder, shards.shard_name("train", number))
        np.arange(first, first + size, dtype="<u2").tofile(tokens)
        ends = np.array([*range(0, size, 7), size], dtype="<i8")
        ends.tofile(offsets)
        parts.append(Shard(size, len(ends) - 1, 0, 0, ""))
        first += size
    return TokenArray(folder, "train", parts, "<u2", "numbers")


BOUNDS = st.one_of(st.none(), st.integers(-110, 110))


@settings(max_examples=300, deadline=None)
@given(start=BOUNDS, stop=BOUNDS, step=st.one_of(st.none(), st.integers(-9, 9).filter(bool)))
def test_slices_are_those_of_an_array(split_array, start, stop, step):
    assert split_array[start:stop:step].tolist() == np.arange(100)[start:stop:step].tolist()


def test_single_tokens_and_windows_round_the_end(split_array):
    assert [split_array[i] for i in (0, 29, 30, 31, 99, -1, -100)] == [0, 29, 30, 31, 99, 99, 0]
    with pytest.raises(IndexError):
        split_array[100]
    rows = split_array.windows(np.array([28, 95, 70, 0]), 250)
    assert (rows == (np.array([28, 95, 70, 0])[:, None] + np.arange(250)) % 100).all()
    assert split_array.document(5).tolist() == []  # the shard of one token: a separator alone
    assert split_array.document(6).tolist() == list(range(31, 37))


def test_no_more_shards_are_open_than_allowed(split_array, monkeypatch):
    monkeypatch.setattr("gatewright.data.token_array.OPEN_SHARDS", 2)
    again = split_array.__reduce__()[0](*split_array.__reduce__()[1])
    assert again[:].tolist() == list(range(100))
    assert again._mapped.cache_info().currsize == 2


def test_an_interrupted_preparation_goes_on_after_the_last_whole_shard(
    jsonl, tmp_path, files_config, small_shards, monkeypatch
):
    made: list[str] = []
    encode_shard = encoding.encode_shard

    def interrupted(folder, job, *others):
        if len(made) == 3:
            raise KeyboardInterrupt
        encode_shard(folder, job, *others)
        made.append(job.name)

    config = files_config(jsonl, processes=1, tokenizer="bpe-300")
    with monkeypatch.context() as patch:
        patch.setattr(encoding, "encode_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(config)
    began = list(made)
    assert began == ["train-00000", "train-00001", "train-00002"]
    monkeypatch.setattr(preparation, "spool_documents", lambda *others: pytest.fail("read again"))
    monkeypatch.setattr(bpe.BPETokenizer, "train", lambda *others: pytest.fail("learnt again"))
    monkeypatch.setattr(
        encoding,
        "encode_shard",
        lambda folder, job, *others: (made.append(job.name), encode_shard(folder, job, *others)),
    )
    data = prepare(config)
    assert sorted(made) == names(data)
    monkeypatch.undo()
    monkeypatch.setattr(shards, "SMALLEST", 3000)
    monkeypatch.setattr(shards, "LARGEST", 3000)
    assert contents(data) == contents(prepare(files_config(jsonl, tokenizer="bpe-300", cache_dir=str(tmp_path / "b"))))


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_a_worker_that_is_killed_is_named_and_finished_shards_stay(jsonl, tmp_path, files_config, small_shards):
    real, suicide = sys.executable, tmp_path / "python"
    suicide.write_text(f'#!/bin/sh\ncase "$*" in *"train 2 "*) kill -9 $$;; esac\nexec {real} "$@"\n')
    suicide.chmod(0o755)
    config = files_config(jsonl, processes=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(suicide))
        with pytest.raises(
            RunError, match=r"the process that made train-00002 was killed by signal 9; the same command"
        ):
            prepare(config)
    (work,) = (path for path in Path(os.environ["GATEWRIGHT_CACHE"], "data").iterdir() if path.is_dir())
    whole = {path.stem: path.with_suffix(".bin").stat().st_mtime_ns for path in work.glob("train-*.json")}
    assert whole  # the first, the second, or both
    data = prepare(config)
    data.verify()
    assert {name: (data.folder / f"{name}.bin").stat().st_mtime_ns for name in whole} == whole


def test_a_worker_that_cannot_write_is_one_clear_line(jsonl, tmp_path, files_config, small_shards, monkeypatch):
    real, full = sys.executable, tmp_path / "python"
    full.write_text(f'#!/bin/sh\nulimit -f 1; exec {real} "$@"\n')  # the kernel refuses to write more than 512 bytes
    full.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(full))
    with pytest.raises(RunError, match=r"\.partial: File too large; the same command goes on from there"):
        prepare(files_config(jsonl, processes=2))


def truncate(path: Path) -> None:
    os.truncate(path, 10)


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(("damage", "suffix"), product((truncate, flip, Path.unlink), ("bin", "offsets")))
def test_a_damaged_shard_is_named_and_made_again(jsonl, files_config, small_shards, damage, suffix):
    config = files_config(jsonl, processes=1, tokenizer="bpe-300")
    data = prepare(config)
    before = contents(data)
    untouched = (data.folder / "train-00001.bin").stat()
    damage(data.folder / f"train-00002.{suffix}")
    with pytest.raises(RunError, match="train-00002 differ from what was prepared"):
        data.verify()
    with pytest.warns(RuntimeWarning, match="train-00002 damaged, made again"):
        again = prepare(config)
    assert contents(again) == before
    assert (data.folder / "train-00001.bin").stat() == untouched
    assert [path.name for path in data.folder.parent.iterdir() if path.is_dir()] == [data.folder.name]


def test_of_large_corpora_only_the_sizes_are_looked_at_unless_asked(jsonl, files_config, monkeypatch):
    monkeypatch.setattr(preparation, "READ_AT_EVERY_START", 100)
    data = prepare(files_config(jsonl))
    before = contents(data)
    flip(data.folder / "train-00000.bin")
    with pytest.raises(RunError, match="train-00000 differ"):
        prepare(files_config(jsonl)).verify()
    with pytest.warns(RuntimeWarning, match="train-00000 damaged, made again"):
        assert contents(prepare(files_config(jsonl), verify=True)) == before


def test_a_shard_that_does_not_become_what_it_was(jsonl, files_config):
    data = prepare(files_config(jsonl))
    index = data.folder / "index.json"
    index.write_text(index.read_text().replace(data.index["splits"]["train"][0]["sha256"], "0" * 64))
    with pytest.warns(RuntimeWarning), pytest.raises(RunError, match="train-00000 did not become what it was"):
        prepare(files_config(jsonl))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"splits": {"train": [{}], "validation": []}, "dtype": "<u2"}'])
def test_a_damaged_index_is_no_index(jsonl, files_config, content):
    data = prepare(files_config(jsonl))
    before = contents(data)
    (data.folder / "index.json").write_text(content)
    assert contents(prepare(files_config(jsonl))) == before


def test_merges_are_learnt_from_a_part_of_a_large_corpus(tmp_path, files_config, monkeypatch):
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(f'{{"text": "{"ab" if i % 3 else "xy"} {i:04}"}}\n' for i in range(300)))
    learnt: list[str] = []
    train = bpe.BPETokenizer.train.__func__

    def spying(cls, size, texts):
        learnt.extend(texts())
        return train(cls, size, texts)

    monkeypatch.setattr(bpe.BPETokenizer, "train", classmethod(spying))
    data = prepare(files_config(path, tokenizer="bpe-280"))
    everything = [data.tokenizer.decode(data.train.document(i)) for i in range(data.train.documents)]
    assert learnt == everything
    learnt.clear()
    monkeypatch.setattr("gatewright.data.tokenization.LEARNT_FROM", 600)
    prepare(files_config(path, tokenizer="bpe-280", split_seed=0, cache_dir=str(tmp_path / "other")))
    assert learnt == everything[::4]  # 1995 bytes


def test_texts_of_a_spool_in_steps_across_blocks(jsonl, files_config, documents, tmp_path, monkeypatch):
    monkeypatch.setattr("gatewright.data.spool.AT_ONCE", 4)
    kept: list[Spool] = []
    plan = preparation.plan
    monkeypatch.setattr(preparation, "plan", lambda spool: (kept.append(spool), read.update(of(spool)), plan(spool))[2])
    read: dict[str, list[str]] = {}

    def of(spool: Spool) -> dict[str, list[str]]:
        return {
            "all": list(spool.texts("train")),
            "some": list(spool.texts("train", 3, 17)),
            "thirds": list(spool.texts("train", every=3)),
        }

    prepare(files_config(jsonl))
    assert len(read["all"]) == 19
    assert read["some"] == read["all"][3:17]
    assert read["thirds"] == read["all"][::3]


PEAK = """
import sys
import time
from gatewright.config import DataConfig
from gatewright.data import prepare, shards, spool, text_batches

shards.SMALLEST = shards.LARGEST = 2**20
text_batches.in_batches.__defaults__ = (2**17,)
spool.AT_ONCE = 2**12
config = DataConfig(source="files", path=sys.argv[1], tokenizer="byte", processes=1, validation_fraction=1e-4)
prepare(config)
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    peaks = []
    for documents in (10_000, 80_000):
        path = tmp_path / f"{documents}.jsonl"
        path.write_text("".join(f'{{"text": "document {i} {"lorem ipsum " * 12}"}}\n' for i in range(documents)))
        done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert 1024 * (peaks[1] - peaks[0]) < 2**20  # for 10 MB of text more, in 70,000 documents more


ORPHANED = """
import sys, time
from gatewright.config import DataConfig
from gatewright.data import prepare, shards, tokenization

shards.SMALLEST = shards.LARGEST = 10**6
prepare(DataConfig(source="files", path=sys.argv[1], tokenizer="char", processes=2))
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="children of a killed process are looked for in Linux's /proc")
def test_workers_end_when_the_one_they_work_for_is_killed(tmp_path: Path, cache: Path, files_config) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text("".join(f'{{"text": "{"much to do " * 900}{i}"}}\n' for i in range(700)))
    parent = subprocess.Popen([sys.executable, "-c", ORPHANED, str(path)])
    children: list[psutil.Process] = []
    while not (children and list(cache.rglob(".train-*.part"))):
        assert parent.poll() is None
        children = psutil.Process(parent.pid).children()
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    assert not psutil.wait_procs(children, timeout=20)[1]
    prepare(files_config(path, tokenizer="char")).verify()
    assert not list(cache.rglob("*.part"))
