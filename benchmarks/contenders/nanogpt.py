"""nanoGPT, from a checkout of it."""

import sys

from job import asked, contend

job = asked()
sys.path.insert(0, job.checkout)
from model import GPT, GPTConfig  # noqa: E402

shape = {key: getattr(job, key) for key in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")}
contend(job, GPT(GPTConfig(**shape, dropout=0.0)), lambda forward, ids, targets: forward(ids, targets)[1])
