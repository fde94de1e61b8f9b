"""Hugging Face's GPT-2."""

from job import asked, contend, next_token_loss
from transformers import GPT2Config, GPT2LMHeadModel

job = asked()
dimensions = {key: getattr(job, key) for key in ("n_layer", "n_head", "n_embd", "vocab_size")}
no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
model = GPT2LMHeadModel(GPT2Config(**dimensions, **no_dropout, n_positions=job.block_size, use_cache=False))
contend(job, model, lambda forward, ids, targets: next_token_loss(forward(input_ids=ids).logits, targets))
