"""The tokeniser, killed; the disk under it, full; and what it made, damaged."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from comparing import contents, same_run
from fault_table import Seen
from mishaps import DieAt, ReadOnly, SmallDisk, can_mount
from processes import gatewright
from workplace import Workplace

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and file systems are POSIX")
needs_mounts = pytest.mark.skipif(not can_mount(), reason="this system gives nobody a file system of their own")


@pytest.fixture
def cache(workplace: Workplace) -> dict[str, str]:
    """A cache of the test's own, in which nothing is prepared yet."""
    (workplace.folder / "cache").mkdir()
    return {"GATEWRIGHT_CACHE": str(workplace.folder / "cache")}


def prepared(cache: dict[str, str]) -> Path:
    """The one folder of prepared data, made by a short training if need be."""
    (folder,) = (
        path for path in (Path(cache["GATEWRIGHT_CACHE"]) / "data").iterdir() if (path / "index.json").is_file()
    )
    return folder


def train(workplace: Workplace, cache: dict[str, str], out: str, **options: object) -> str:
    ended = gatewright(workplace.folder, *workplace.words(out), environment=cache, **options)  # type: ignore[arg-type]
    assert ended.status == 0, ended.said
    return ended.said


@pytest.mark.parametrize("moment", [pytest.param(2, marks=pytest.mark.slow), 7])
def test_kill_9_of_the_tokeniser(
    moment: int, workplace: Workplace, cache: dict[str, str], undisturbed: Path, seen: Seen
) -> None:
    killed = gatewright(
        workplace.folder, *workplace.words("run"), environment=cache, before=DieAt("cache/data/", moment)
    )
    assert killed.status == -9
    assert not list((workplace.folder / "cache" / "data").glob("*/index.json")), "nothing that looks finished"
    assert not (workplace.folder / "run" / "config.yaml").exists()
    train(workplace, cache, "run")
    same_run(workplace.folder / "run", undisturbed)
    left = [path.name for path in (workplace.folder / "cache" / "data").iterdir() if path.is_dir()]
    assert left == [prepared(cache).name], "what the killed one left is gone"
    seen(
        "`kill -9` while text is tokenised", "(nothing; the next start prepares the text)",
        lost="what was tokenised so far, or since the last whole shard", then="again",
    )  # fmt: skip


@needs_mounts
def test_a_full_disk_under_the_tokeniser(
    workplace: Workplace, cache: dict[str, str], undisturbed: Path, seen: Seen
) -> None:
    place, kept = Path(cache["GATEWRIGHT_CACHE"]), workplace.folder / "kept"
    words = workplace.words("run")
    ended = gatewright(workplace.folder, *words, environment=cache, before=SmallDisk(place, 16_384, kept))
    assert ended.status == 1
    assert not list(kept.rglob("index.json"))
    assert not (workplace.folder / "run" / "config.yaml").exists()
    train(workplace, cache, "run")
    same_run(workplace.folder / "run", undisturbed)
    seen(
        "a full disk while text is tokenised",
        ended.complaint,
        lost="what was tokenised so far",
        then="make room, then again",
    )


@needs_mounts
def test_a_read_only_cache(workplace: Workplace, cache: dict[str, str], seen: Seen) -> None:
    ended = gatewright(
        workplace.folder, *workplace.words("run"), environment=cache, before=ReadOnly(Path(cache["GATEWRIGHT_CACHE"]))
    )
    assert ended.status == 2
    assert not (workplace.folder / "run" / "config.yaml").exists()
    seen(
        "a read-only cache",
        ended.complaint,
        lost="nothing: it is said before any work",
        then="another `data.cache_dir`",
    )


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-6])


@pytest.mark.parametrize(
    ("fault", "spoil"),
    [
        ("a flipped bit in prepared tokens", flip),
        pytest.param("truncated prepared tokens", truncate, marks=pytest.mark.slow),
    ],
)
def test_damaged_tokens(
    fault: str,
    spoil: Callable[[Path], None],
    workplace: Workplace,
    cache: dict[str, str],
    undisturbed: Path,
    seen: Seen,
) -> None:
    train(workplace, cache, "first")
    folder = prepared(cache)
    sound = contents(folder)
    (file,) = folder.glob("train*.bin")
    spoil(file)
    said = train(workplace, cache, "run")
    same_run(workplace.folder / "run", undisturbed)
    assert contents(folder) == sound
    (line,) = [line for line in said.splitlines() if "damaged" in line]
    seen(
        fault, line.partition("Warning: ")[2],
        lost="nothing: damaged tokens are not trained on", then="by itself: they are made again from the text",
    )  # fmt: skip
