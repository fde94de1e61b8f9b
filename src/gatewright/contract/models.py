"""Lines about a whole model, whatever parts it has."""

from __future__ import annotations

import fnmatch

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gatewright.contract.line import MODEL, demand, demand_close, demand_equal, line
from gatewright.contract.model_case import ModelCase
from gatewright.model.build import assemble, build
from gatewright.model.cost import cost
from gatewright.model.language_model import LanguageModel

WITHOUT_GRADIENT = {
    "*.k_proj.bias": "adds the same to all scores of a query where keys are neither rotated nor normed",
    "*.k_norm.bias": "adds the same to all scores of a query where keys are not rotated",
}
"""Parameters that may have no gradient, and why: softmax does not see what is added to all scores alike."""

EXACT = 1e-10
"""What float64 computations that differ only in the order of sums may differ by."""


@line(MODEL, name="cost")
def stated_cost(case: ModelCase) -> None:
    """The stated parameters are those of the model, the stated FLOPs those that FlopCounterMode counts."""
    model = build(case.config, device="meta")
    stated = cost(case.config)
    real = sum(parameter.numel() for parameter in model.parameters())
    demand(stated.parameters == real, f"states {stated.parameters} parameters, has {real}")
    batch, tokens = 2, case.config.block_size
    # on the meta device, because the counter does not know the attention kernel of CPUs
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(batch, tokens, dtype=torch.long, device="meta"))
    counted = counter.get_total_flops()
    demand(counted == batch * stated.total.flops, f"states {batch * stated.total.flops} FLOPs, {counted} are counted")
    demand(stated.forward_flops_per_token == round(counted / (batch * tokens)), "FLOPs per token")
    demand(stated.flops_per_token == round(3 * counted / (batch * tokens)), "training is three times the forward pass")
    shares = stated.breakdown.values()
    demand(sum(share["parameters"] for share in shares) == real, "the breakdown does not add up to the parameters")


@line(MODEL)
def initialised(case: ModelCase) -> None:
    """Initial weights are a function of the seed, whatever stood in memory; another seed gives others."""
    first = dict(build(case.config, seed=1).state_dict())
    torch.manual_seed(99)
    second = assemble(case.config)
    for tensor in (*second.parameters(), *second.buffers()):
        tensor.data.fill_(7)
    second.initialise(1)
    for name, tensor in second.state_dict().items():
        demand_equal(tensor, first[name], f"{name} after initialise(1) over garbage")
    second.initialise(2)
    demand(not torch.equal(second.embedding.weight, first["embedding.weight"]), "seeds 1 and 2 give the same weights")


@line(MODEL)
def trainable(case: ModelCase) -> None:
    """A training step's loss is finite, and every parameter gets a gradient that is finite and not zero."""
    model = case.build().train()
    model.set_step(1, 2)  # a scheduled α may start at 0, where the gate stream has no gradient
    ids = case.ids(batch=8)  # tokens enough for every expert of a mixture
    out = model(ids, labels=ids)
    demand(out.logits.shape == (*ids.shape, case.config.vocab_size), f"logits {tuple(out.logits.shape)}")
    demand(bool(out.loss is not None and out.loss.isfinite()), f"loss {out.loss}")
    assert out.loss is not None
    out.loss.backward()
    for name, parameter in model.named_parameters():
        demand(parameter.grad is not None, f"{name} gets no gradient")
        assert parameter.grad is not None
        demand(bool(parameter.grad.isfinite().all()), f"the gradient of {name} is not finite")
        excused = any(fnmatch.fnmatch(name, pattern) for pattern in WITHOUT_GRADIENT)
        # rounding leaves some 1e-18 where the true gradient is 0
        demand(excused or parameter.grad.abs().max().item() > 1e-12, f"the gradient of {name} is zero")


@line(MODEL)
def causal(case: ModelCase) -> None:
    """Another token changes no logit before it, and some at or after it."""
    model, ids = case.build(), case.ids()
    logits = model(ids).logits
    for place in (1, case.config.block_size // 2, case.config.block_size - 1):
        changed = ids.clone()
        changed[:, place] = (changed[:, place] + 1) % case.config.vocab_size
        found = model(changed).logits
        demand_close(found[:, :place], logits[:, :place], f"logits before a change at {place}", atol=EXACT)
        demand(bool((found[:, place:] - logits[:, place:]).abs().max() > 1e-6), f"a change at {place} has no effect")


@line(MODEL)
def cached(case: ModelCase) -> None:
    """Decoding with a KV cache, in one piece and token by token, gives the logits of the full forward pass."""
    model, ids = case.build(), case.ids(tokens=min(12, case.config.block_size))
    expected = model(ids).logits
    cache = model.new_cache()
    pieces = [model(ids[:, begin:end], cache=cache).logits for begin, end in ((0, 5), (5, 7), (7, 8), (8, 12))]
    demand(cache.length == ids.shape[1], f"the cache holds {cache.length} tokens of {ids.shape[1]}")
    demand_close(torch.cat(pieces, dim=1), expected, "logits with a cache", atol=EXACT)


@line(MODEL)
def padded(case: ModelCase) -> None:
    """Left padding changes nothing: logits of real tokens, loss, and decoding with a cache are those without it."""
    model = case.build()
    long, short, width = case.ids(1, 9), case.ids(1, 14)[:, 9:], 9
    gap = width - short.shape[1]
    ids = torch.cat((long, nn.functional.pad(short, (gap, 0), value=1)))
    mask = torch.ones_like(ids)
    mask[1, :gap] = 0
    logits = model(ids, attention_mask=mask).logits
    demand(bool(logits.isfinite().all()), "logits at padding are not finite")
    demand_close(logits[:1], model(long).logits, "logits of the row without padding", atol=EXACT)
    demand_close(logits[1:, gap:], model(short).logits, "logits of the padded row", atol=EXACT)
    cache = model.new_cache()
    model(ids[:, :-1], attention_mask=mask[:, :-1], cache=cache)
    last = model(ids[:, -1:], attention_mask=mask, cache=cache).logits
    demand_close(last, logits[:, -1:], "the last logits with padding and a cache", atol=EXACT)
    labels = ids.masked_fill(mask == 0, -100)
    loss = model(ids, labels=labels, attention_mask=mask, reduction="sum").cross_entropy
    separate = sum(_summed_loss(model, row) for row in (long, short)) + _first_loss(logits, ids, gap)
    demand_close(loss, separate, "summed loss", atol=1e-8)


@line(MODEL)
def documents(case: ModelCase) -> None:
    """Documents that are packed into rows and kept apart have the logits that each has alone."""
    model, ids = case.build(), case.ids()
    lengths = ((5, 1, ids.shape[1] - 6), (1, ids.shape[1] - 4, 3))
    numbers = torch.stack([torch.arange(3).repeat_interleave(torch.tensor(row)) for row in lengths])
    packed = model(ids, documents=numbers).logits
    for row, found, parts in zip(ids, packed, lengths, strict=True):
        for own, logits in zip(row.split(parts), found.split(parts), strict=True):
            demand_close(logits, model(own[None]).logits[0], f"logits of a document of {len(own)}", atol=EXACT)


@line(MODEL, name="saved")
def model_saved(case: ModelCase) -> None:
    """The model goes through safetensors (shared tensors once) and computes the same, bit for bit."""
    model, ids = case.build(torch.float32), case.ids()
    content = safetensors.torch.save(unshared(model))
    other = build(case.config, seed=5).eval()
    missing, unexpected = other.load_state_dict(safetensors.torch.load(content), strict=False)
    demand(not unexpected, f"unexpected tensors {unexpected}")
    demand(set(missing) <= set(model.state_dict()) - set(unshared(model)), f"missing tensors {missing}")
    demand_equal(other(ids).logits, model(ids).logits, "logits after loading")


@line(MODEL, name="half precision")
def model_half_precision(case: ModelCase) -> None:
    """Under bfloat16 autocast, loss and gradients are finite, and the loss is within 1 % of float32's."""
    model, ids = case.build(torch.float32).train(), case.ids()
    expected = model(ids, labels=ids).cross_entropy.item()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(ids, labels=ids)
    out.loss.backward()
    found = out.cross_entropy.item()
    demand(abs(found - expected) <= 0.01 * expected, f"loss {found} instead of {expected}")
    for name, parameter in model.named_parameters():
        finite = parameter.grad is None or bool(parameter.grad.isfinite().all())
        demand(finite, f"the gradient of {name} is not finite")


def unshared(model: LanguageModel) -> dict[str, Tensor]:
    """The state dict with each tensor once, under its first name, as safetensors wants it."""
    kept: dict[int, str] = {}
    state = model.state_dict()
    return {name: tensor for name, tensor in state.items() if kept.setdefault(tensor.data_ptr(), name) == name}


def _summed_loss(model: LanguageModel, ids: Tensor) -> Tensor:
    loss = model(ids, labels=ids, reduction="sum").cross_entropy
    assert loss is not None
    return loss


def _first_loss(logits: Tensor, ids: Tensor, gap: int) -> Tensor:
    """What the padded row has beside: the last pad is scored against the first real token."""
    return nn.functional.cross_entropy(logits[1:, gap - 1], ids[1:, gap], reduction="sum")
