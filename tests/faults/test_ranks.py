"""A run on two processes, of which one is killed."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from comparing import checkpoints, resumed_at, same_run, steps
from fault_table import Seen
from mishaps import DieAt
from processes import Started
from workplace import Workplace

from gatewright.run import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")


def start_two(workplace: Workplace, *words: str, main: DieAt | None = None) -> list[Started]:
    """A run on two processes, started as torchrun starts them; ``main`` happens to the one that writes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    return [
        Started(
            workplace.folder, *workplace.words("run"), "parallel.mode=ddp", *words,
            before=main if rank == 0 else None, environment={**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    """Two processes that nothing disturbed."""
    folder = tmp_path_factory.mktemp("together")
    assert [process.end().status for process in start_two(Workplace(folder, text))] == [0, 0]
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_kill_9_of_one_of_two_ranks(victim: int, workplace: Workplace, together: Path, seen: Seen) -> None:
    run = workplace.folder / "run"
    metrics = run / "metrics.jsonl"
    processes = start_two(workplace, main=DieAt("step-60", 1) if victim == 0 else None)
    if victim == 1:
        processes[0].wait_for(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") > 45)
        processes[1].kill()
    ended = [process.end() for process in processes]
    assert ended[victim].status == -9
    survivor = ended[1 - victim]
    assert survivor.status == 1
    assert Run(run).status == ("running" if victim == 0 else "failed")
    before = checkpoints(run)
    assert 30 in steps(run)
    assert [process.end().status for process in start_two(workplace, "resume=auto")] == [0, 0]
    assert before.items() <= checkpoints(run).items()
    assert len(resumed_at(run)) == 1
    same_run(run, together)
    said = survivor.complaint.replace("process 0", "process N").replace("process 1", "process N")
    seen(
        "`kill -9` of one of two ranks", said, lost="the steps since the last checkpoint",
        then="`torchrun …` again with `resume=auto`",
    )  # fmt: skip
