"""litgpt's GPT with the choices of GPT-2, but for its positions: it rotates a quarter of each head's channels."""

from job import asked, contend, next_token_loss
from litgpt import GPT, Config
from torch.nn import init

job = asked()
model = GPT(
    Config(
        block_size=job.block_size, vocab_size=job.vocab_size, padded_vocab_size=job.vocab_size, n_layer=job.n_layer,
        n_head=job.n_head, n_embd=job.n_embd, parallel_residual=False, gelu_approximate="tanh", rotary_percentage=0.25,
    )
)  # fmt: skip
model.lm_head.weight = model.transformer.wte.weight
for parameter in model.parameters():
    if parameter.dim() > 1:  # its own recipe belongs to its trainer
        init.normal_(parameter, std=0.02)
contend(job, model, lambda forward, ids, targets: next_token_loss(forward(ids), targets))
