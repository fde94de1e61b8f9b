"""The other end of `isolation`: reads a reward, then lists of items, and writes an outcome for each."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import sys
from typing import IO, Any

from gatewright.rl.rewards.base import Reward, attempt


def main() -> None:
    """Serve until the standard input ends."""
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a scorer prints must not get between the replies
    try:
        reward = _load(*pickle.load(requests))
        reward.warm_up()
    except Exception as error:
        _reply(replies, f"{type(error).__name__}: {error}")
        return
    _reply(replies, None)
    while True:
        try:
            items = pickle.load(requests)
        except EOFError:
            return
        for item in items:
            _reply(replies, attempt(reward.score, item))


def _load(module: str, file: str | None, pickled: bytes) -> Reward:
    """The reward, from its module, or from the module's file where it is not importable by name."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module or file is None:
            raise
        spec = importlib.util.spec_from_file_location(module, file)
        if spec is None or spec.loader is None:
            raise
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
    return pickle.loads(pickled)


def _reply(stream: IO[bytes], message: Any) -> None:
    pickle.dump(message, stream)
    stream.flush()
