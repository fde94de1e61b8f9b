"""Generation through transformers: the tokens that our own generation gives."""

from __future__ import annotations

import pytest
import torch
from hf_designs import disturbed, ids, logits, make
from torch import Tensor
from transformers import DynamicCache

import gatewright as gw
from gatewright.hf import GatewrightForCausalLM, to_hf
from gatewright.model.sampling import keep_nucleus, keep_top

DESIGNS = [
    *("gpt2", "llama3", "qwen3", "gpt2_postnorm", "alibi, post-norm", "window, gated attention", "layers that differ"),
    *("experts", "scaled embedding", "input-dependent"),
]
PROMPTS = [ids(7, seed=2).tolist(), ids(3, seed=3).tolist(), ids(11, seed=4).tolist()]
NEW = 12


def padded(prompts: list[list[int]]) -> dict[str, Tensor]:
    """A batch of prompts, padded on the left with a token that must not matter."""
    longest = max(map(len, prompts))
    rows = [[55] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}


def continued(model: GatewrightForCausalLM, prompts: list[list[int]], **options: object) -> list[list[int]]:
    """What ``generate`` adds to each prompt."""
    inputs = padded(prompts)
    given = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0, **options}
    return model.generate(**inputs, **given)[:, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("design", DESIGNS)
def test_greedy_generation_is_ours(design: str) -> None:
    model = make(design)
    expected = gw.generate(model, PROMPTS, max_new_tokens=NEW)
    wrapped = to_hf(model)
    assert len({token for row in expected for token in row}) > 5
    assert continued(wrapped, PROMPTS, use_cache=True) == expected
    assert continued(wrapped, PROMPTS, use_cache=False) == expected
    alone = [continued(wrapped, [prompt])[0] for prompt in PROMPTS]
    assert alone == expected


def test_generation_ends_at_the_end_token() -> None:
    model = make("llama")
    expected = gw.generate(model, PROMPTS, max_new_tokens=NEW)
    end = expected[0][3]
    stopped = gw.generate(model, PROMPTS, max_new_tokens=NEW, end_id=end)
    found = continued(to_hf(model, eos_token_id=end), PROMPTS, pad_token_id=end)
    assert [row[: row.index(end)] if end in row else row for row in found] == stopped


@torch.no_grad()
def test_beams_find_what_exhaustive_search_finds() -> None:
    model = to_hf(make("qwen3"))
    prompt, width = padded(PROMPTS[:1]), 101
    found = model.generate(**prompt, max_new_tokens=2, num_beams=width, do_sample=False, pad_token_id=0)[0, -2:]
    first = model(**prompt).logits[0, -1].log_softmax(-1)
    extended = torch.cat((prompt["input_ids"].expand(width, -1), torch.arange(width)[:, None]), dim=1)
    total = first[:, None] + model(extended).logits[:, -1].log_softmax(-1)
    assert found.tolist() == [int(total.argmax()) // width, int(total.argmax()) % width]


def test_beams_agree_with_and_without_a_cache() -> None:
    for design in ("llama3", "alibi, post-norm", "layers that differ"):
        model = to_hf(make(design))
        cached = continued(model, PROMPTS, num_beams=4, use_cache=True)
        assert cached == continued(model, PROMPTS, num_beams=4, use_cache=False)


def test_sampling_draws_from_the_same_distribution() -> None:
    model = to_hf(make("small"))
    inputs = {"input_ids": ids(1, 6)}
    scores = logits(model, inputs["input_ids"])[:, -1] / 0.7
    expected = keep_nucleus(keep_top(scores, 20), 0.9).softmax(-1)[0]
    options = {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.9, "pad_token_id": 0}
    torch.manual_seed(0)
    rows = {"input_ids": inputs["input_ids"].expand(4000, -1), "attention_mask": torch.ones(4000, 6, dtype=torch.long)}
    drawn = model.generate(**rows, max_new_tokens=1, **options)[:, -1]
    shares = torch.bincount(drawn, minlength=101) / 4000
    assert not (shares[expected == 0]).any()
    error = (expected * (1 - expected) / 4000).sqrt()
    assert ((shares - expected).abs() <= 4 * error + 1e-9).all()


def test_assisted_generation_crops_the_cache() -> None:
    model = to_hf(make("llama"))
    prompt = [[*PROMPTS[0], *PROMPTS[0]]]
    assert continued(model, prompt, prompt_lookup_num_tokens=3) == continued(model, prompt)
    helper = to_hf(make("llama"))
    with torch.no_grad():
        helper.head.weight.mul_(-1)  # proposes what the model rejects
    assert continued(model, prompt, assistant_model=helper) == continued(model, prompt)


@torch.no_grad()
def test_a_cache_goes_on_where_it_stopped() -> None:
    model, tokens = to_hf(make("window, gated attention")), ids(2, 20)
    whole = model(tokens, use_cache=False)
    assert whole.past_key_values is None
    first = model(tokens[:, :13])
    assert isinstance(first.past_key_values, DynamicCache)
    assert first.past_key_values.get_seq_length() == 13
    rest = model(tokens[:, 13:], past_key_values=first.past_key_values)
    torch.testing.assert_close(torch.cat((first.logits, rest.logits), dim=1), whole.logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_padding_does_not_matter_on_either_side() -> None:
    for design in ("gpt2", "llama3", "alibi, post-norm", "experts"):
        model, tokens = to_hf(make(design)), ids(2, 12)
        expected = logits(model, tokens)
        filler, ones, zeros = ids(2, 5, seed=9), torch.ones(2, 12), torch.zeros(2, 5)
        left = model(torch.cat((filler, tokens), 1), attention_mask=torch.cat((zeros, ones), 1)).logits[:, 5:]
        right = model(torch.cat((tokens, filler), 1), attention_mask=torch.cat((ones, zeros), 1)).logits[:, :12]
        torch.testing.assert_close(left, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(right, expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(model(tokens, attention_mask=ones).logits, expected)


def test_positions_are_those_that_are_given() -> None:
    for design in ("gpt2", "gpt2_postnorm"):
        ours, tokens, positions = make(design), ids(2, 9), torch.arange(9)[None] + torch.tensor([[3], [7]])
        with torch.no_grad():
            expected = ours(tokens, positions=positions).logits
            found = to_hf(ours)(tokens, position_ids=positions).logits
        assert torch.equal(found, expected)
        assert not torch.allclose(logits(ours, tokens), expected, atol=1e-4)


def test_embedded_inputs_are_those_of_the_embedding() -> None:
    for design in ("scaled embedding", "gpt2"):
        model, tokens = to_hf(make(design)), ids(2, 9)
        embedded = model.get_input_embeddings()(tokens)
        assert torch.equal(model(inputs_embeds=embedded).logits, model(tokens).logits)
        generated = model.generate(inputs_embeds=embedded, max_new_tokens=4, do_sample=False, pad_token_id=0)
        whole = model.generate(tokens, max_new_tokens=4, do_sample=False, pad_token_id=0)
        assert torch.equal(generated, whole[:, 9:])


def test_what_cannot_be_done_is_refused() -> None:
    model = to_hf(disturbed(make("llama")))
    with pytest.raises(ValueError, match="generates with a cache that grows; leave out cache_implementation"):
        continued(model, PROMPTS, cache_implementation="static")
    with pytest.raises(ValueError, match=r"attention_mask must be \(B, S\), not of 4 dimensions"):
        model(ids(1, 4), attention_mask=torch.ones(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"33 tokens are more than model\.block_size=32"):
        model(ids(1, 33))
    with pytest.raises(ValueError, match="output_attentions: a Gatewright model does not keep attention weights"):
        model(ids(1, 4), output_attentions=True)
    assert isinstance(model(ids(1, 4), return_dict=False), tuple)
