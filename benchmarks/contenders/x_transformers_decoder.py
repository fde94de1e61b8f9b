"""x-transformers' decoder with flash attention and a tied head."""

from job import asked, contend, next_token_loss
from x_transformers import Decoder, TransformerWrapper

job = asked()
decoder = Decoder(dim=job.n_embd, depth=job.n_layer, heads=job.n_head, attn_dim_head=job.n_embd // job.n_head,
                  attn_flash=True)  # fmt: skip
model = TransformerWrapper(
    num_tokens=job.vocab_size, max_seq_len=job.block_size, attn_layers=decoder, tie_embedding=True
)
contend(job, model, lambda forward, ids, targets: next_token_loss(forward(ids), targets))
