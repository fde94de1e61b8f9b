"""Memory is that of this program: the most it held, and nothing of what started it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MIB = 2**20
HOLDER = """
import json, sys, torch
from gatewright.hardware.memory import memory
cpu = torch.device("cpu")
before = memory(cpu)
held = bytearray(int(sys.argv[1]))
holding = memory(cpu)
del held
after = memory(cpu)
print(json.dumps([[each.used, each.peak] for each in (before, holding, after)]))
"""


def held_by_a_child(size: int) -> list[list[int]]:
    command = [sys.executable, "-c", HOLDER, str(size)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # type: ignore[no-any-return]


def test_the_peak_stays_when_memory_is_given_back() -> None:
    size = 256 * MIB
    (_, before), (used, holding), (left, after) = held_by_a_child(size)
    assert holding >= before + 0.9 * size
    assert used >= left + 0.9 * size
    assert after >= holding - 4 * MIB  # the kernel counts each thread's last pages late


@pytest.mark.skipif(
    sys.platform == "darwin", reason="macOS has ru_maxrss alone; whether it is inherited there was not tried"
)
def test_a_large_parent_is_not_counted() -> None:
    held = bytearray(1024 * MIB)
    peak = held_by_a_child(0)[0][1]
    assert peak < len(held)
