"""Checkpoints written behind the training's back."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType

from gatewright.training.checkpoint import Snapshot
from gatewright.training.parallel import Parallel
from gatewright.training.store import CheckpointStore


class Saver:
    """Writes one checkpoint at a time, in a thread unless ``background`` is off; leaving waits for the last one.

    What goes wrong in the thread is raised by the next `wait`, which every save begins with.
    """

    def __init__(self, store: CheckpointStore, parallel: Parallel, background: bool) -> None:
        self.store = store
        self.parallel = parallel
        self.background = background
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._under_way: Future[Path] | None = None

    def save(self, step: int, snapshot: Snapshot, score: float | None) -> None:
        """Make ``snapshot`` the checkpoint of ``step``; returns at once. All processes have to call it."""
        self.wait()
        task = partial(self.store.save, step, snapshot.write, score, self.parallel)
        if self.background:
            self._under_way = self._thread.submit(task)
        else:
            task()

    def wait(self) -> None:
        """Until the checkpoint under way is there. Raises what went wrong with it."""
        if self._under_way is None:
            return
        error = self._under_way.exception()  # an impatient Ctrl-C leaves it here, and it is still under way
        self._under_way = None
        if error is not None:
            raise error

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except Exception as second:
            if error is None:
                raise
            error.add_note(f"and then: {second}")
        finally:
            self._thread.shutdown()
