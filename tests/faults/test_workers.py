"""The process that scores completions: killed, and hanging."""

from __future__ import annotations

import sys

import pytest
from fault_table import Seen
from faulty_rewards import Faulty

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")


@pytest.mark.parametrize(
    ("word", "fault", "count"),
    [
        ("die", "`kill -9` of the worker that scores completions", {"raised": 1, "timed_out": 0}),
        ("hang", "a worker that scores completions and hangs", {"raised": 0, "timed_out": 1}),
    ],
)
def test_a_worker_that_scores(word: str, fault: str, count: dict[str, int], seen: Seen) -> None:
    completions = ["fine", word, "fine", "fine"]
    reward, calm = Faulty(), Faulty()
    undisturbed = calm(prompts=["?"] * 4, completions=["fine"] * 4)
    scores = reward(prompts=["?"] * 4, completions=completions)
    expected = [score if text == "fine" else 0.0 for score, text in zip(undisturbed, completions, strict=True)]
    assert scores == expected
    assert {name: getattr(reward.counts, name) for name in count} == count
    said = reward.counts.first_error or "timed_out 1 in the step's record of metrics.jsonl"
    seen(
        fault, said, lost="nothing: that completion scores 0 and is counted", then="by itself: a new worker is started"
    )
