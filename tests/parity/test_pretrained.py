"""Models of transformers in the clothes of ours: logits, losses, generation, names and cost are theirs."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from gguf_file import write_gguf
from surgery_models import SUBJECTS, VOCABULARY, gpt2, ids, llama
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaForCausalLM, MambaConfig, MambaForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from gatewright.config import Config, ModelConfig, TrainConfig
from gatewright.config.patch import PatchConfig
from gatewright.errors import UserError
from gatewright.hf import save
from gatewright.model.build import build
from gatewright.model.generate import generate
from gatewright.model.sampling import Sampler
from gatewright.pretrained.cost import pretrained_cost, training_memory
from gatewright.pretrained.model import PretrainedModel
from gatewright.pretrained.name import pretrained_name
from gatewright.pretrained.opening import open_source, prepare
from gatewright.pretrained.source import find_source
from gatewright.surgery import alphas, patch, set_step, train_only_alpha
from gatewright.training.optimizer import Optimizers, parameter_groups

DECODERS = [name for name, subject in SUBJECTS.items() if subject.generates and not subject.encoder_decoder]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("family", DECODERS)
def test_logits_and_losses_are_those_of_the_model_inside(family: str) -> None:
    hf, tokens = SUBJECTS[family].build(), ids(2, 12)
    model = PretrainedModel(hf, 64)
    theirs = hf(tokens, labels=tokens)
    targets = F.pad(tokens[:, 1:], (0, 1), value=-100)
    ours = model(tokens, targets=targets)
    assert torch.equal(ours.logits, theirs.logits)
    assert ours.loss is ours.cross_entropy
    assert ours.aux_loss is None
    assert ours.loss.item() == pytest.approx(theirs.loss.item(), rel=1e-6)
    assert model(tokens, targets=targets, reduction="sum").loss.item() == pytest.approx(
        22 * theirs.loss.item(), rel=1e-6
    )
    assert model(tokens).loss is None


def test_parameters_have_the_names_of_the_model_inside_and_both_are_one() -> None:
    hf = gpt2(tie_word_embeddings=True)
    patch(hf, alpha="learnable_0.25")
    model = PretrainedModel(hf, 64)
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in hf.named_parameters()]
    assert list(model.state_dict()) == list(hf.state_dict())
    model.to(torch.float64)
    assert {parameter.dtype for parameter in hf.parameters()} == {torch.float64}
    assert hf.get_output_embeddings().weight is hf.get_input_embeddings().weight is model.embedding.weight
    assert model.train().hf.training
    assert not model.eval().hf.training
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.embedding.weight.zero_()
    assert twin.hf(ids(1, 4)).logits.ne(hf(ids(1, 4)).logits).any()


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "gpt_neox"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_padded_prompts_continue_as_they_do_alone_and_as_transformers_does_it(family: str, use_cache: bool) -> None:
    model = PretrainedModel(SUBJECTS[family].build(), 64)
    prompts = [[5, 6, 7, 8, 9], [11, 12]]
    greedy = generate(model, prompts, max_new_tokens=6, use_cache=use_cache)
    assert greedy == [generate(model, [prompt], max_new_tokens=6, use_cache=use_cache)[0] for prompt in prompts]
    theirs = model.hf.generate(torch.tensor(prompts[:1]), max_new_tokens=6, min_new_tokens=6, do_sample=False)
    if model.hf.generation_config.eos_token_id not in greedy[0]:
        assert greedy[0] == theirs[0, 5:].tolist()
    drawn = [generate(model, prompts, max_new_tokens=6, sampler=Sampler(seed=seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_alphas_are_told_by_block_and_scheduled_ones_move() -> None:
    hf = llama(num_hidden_layers=3)
    patch(hf, alpha="scheduler_linear", layers=[0, 2])
    model = PretrainedModel(hf, 64)
    set_step(model.hf, 5, 10)
    assert model.alphas() == dict(zip(("0", "2"), alphas(hf).values(), strict=True)) == {"0": 0.5, "2": 0.5}
    assert model.reports() == {}
    assert PretrainedModel(llama(), 64).alphas() == {}


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("alpha", [None, "learnable", "input_projection", {"name": "learnable", "per": "channel"}])
def test_cost_is_what_is_counted(family: str, alpha: object) -> None:
    hf = SUBJECTS[family].build(attn_implementation="eager")  # the counter does not see the CPU's flash kernel
    if alpha is not None:
        patch(hf, {"name": "paglu", "gate_norm": "before"}, alpha=alpha)
    cost = pretrained_cost(hf, 20)
    with FlopCounterMode(display=False) as counter:
        hf(torch.zeros(1, 20, dtype=torch.long), use_cache=False)
    assert cost.total.flops == counter.get_total_flops()
    assert cost.parameters == sum(parameter.numel() for parameter in hf.parameters())
    assert cost.flops_per_token == 3 * cost.total.flops // 20
    assert sum(part["parameters"] for part in cost.breakdown.values()) == cost.parameters


def test_frozen_weights_take_no_gradient_of_weights() -> None:
    hf = llama(attn_implementation="eager", num_hidden_layers=12)
    patch(hf, alpha="learnable")
    train_only_alpha(hf)
    tokens = torch.zeros(1, 20, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        PretrainedModel(hf, 64)(tokens, targets=tokens).loss.backward()
    cost, counted = pretrained_cost(hf, 20), counter.get_total_flops()
    # nothing is handed down to what lies before the first α: all of the first block's attention and two projections
    below = 4 * 20 * 20 * 16 * 2 + 2 * 20 * (16 * 16 * 2 + 16 * 8 * 2) + 2 * 2 * 20 * 16 * 24
    assert 20 * cost.flops_per_token - counted == pytest.approx(below, abs=20)


def test_cost_that_is_not_known_is_refused() -> None:
    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "vocab_size": 20}
    with pytest.raises(UserError, match=r"cost of .* is not known"):
        pretrained_cost(MambaForCausalLM(MambaConfig(**sizes)), 8)
    experts = Qwen3MoeConfig(**sizes, num_attention_heads=2, num_key_value_heads=2, num_experts=2, head_dim=8)
    with pytest.raises(UserError, match=r"cost of .* is not known"):
        pretrained_cost(Qwen3MoeForCausalLM(experts), 8)


def test_memory_counts_what_is_trained() -> None:
    def memory(batch_size: int, precision: str, alone: bool) -> dict[str, int]:
        with torch.device("meta"):
            hf = LlamaForCausalLM(llama().config)
        if alone:
            patch(hf, alpha="learnable")
            train_only_alpha(hf)
        return training_memory(hf, 32, batch_size, precision)

    everything, alone = memory(2, "float32", False), memory(2, "float32", True)
    assert everything["weights"] == everything["gradients"] == 4 * llama().num_parameters()
    assert everything["optimizer"] == 2 * everything["gradients"]
    assert (alone["gradients"], alone["optimizer"]) == (8, 16)
    assert alone["weights"] == everything["weights"] + 8
    assert memory(4, "float32", True)["activations"] == pytest.approx(2 * alone["activations"], rel=0.02)
    assert memory(2, "bf16", True)["activations"] < 0.9 * alone["activations"]


def test_alpha_has_its_own_learning_rate_and_never_decays() -> None:
    hf = gpt2()
    patch(hf, alpha={"name": "learnable", "start": 0.0, "range": "clamp"})
    groups = {g.name: g for g in parameter_groups(PretrainedModel(hf, 64), TrainConfig(alpha_learning_rate=0.5))}
    assert (groups["alpha"].learning_rate, groups["alpha"].weight_decay) == (0.5, 0.0)
    assert list(groups["alpha"].parameters) == [f"transformer.h.{i}.mlp.act.gate.alpha.raw" for i in range(2)]
    assert "transformer.h.0.mlp.act.gate_proj.weight" in groups["decay"].parameters
    muon = Optimizers(PretrainedModel(llama(), 64), TrainConfig(optimizer="muon"), torch.device("cpu"))
    names = {name for group in muon.groups if group.algorithm == "muon" for name in group.parameters}
    assert "model.layers.0.mlp.up_proj.weight" in names
    assert not names & {"lm_head.weight", "model.embed_tokens.weight"}


def test_names_say_family_sizes_and_gates() -> None:
    hf = llama()
    assert pretrained_name(hf) == "llama-2L-2H1KV-16D"
    patch(hf, alpha=0.5, layers=[1])
    assert pretrained_name(hf) == "llama-2L-2H1KV-16D-paGLU(preserve,α=0.5)×1"


def test_without_an_alpha_it_is_learned_from_where_the_model_is_the_trained_one() -> None:
    hf, tokens = llama(), ids(2, 8)
    before = hf(tokens).logits
    config = Config(model=ModelConfig(), patch=PatchConfig(form="gate"))
    report = prepare(hf, config)
    assert report is not None
    assert report.unchanged
    assert list(alphas(hf).values()) == [1.0, 1.0]
    assert (hf(tokens).logits - before).abs().max() < 1e-6


def test_the_seed_of_training_draws_new_projections() -> None:
    drawn = []
    for seed in (0, 0, 1):
        hf = gpt2()
        prepare(hf, Config(patch=PatchConfig(), train=TrainConfig(seed=seed)))
        drawn.append(hf.transformer.h[0].mlp.act.gate_proj.weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_encoders_and_models_without_a_head_are_refused(tmp_path: Path) -> None:
    SUBJECTS["bert"].build().save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match="that is not causal"):
        open_source(find_source(str(tmp_path / "bert")), Config())
    llama(tie_word_embeddings=False).model.save_pretrained(tmp_path / "headless")
    with pytest.raises(UserError, match=r"no causal language model: it has no lm_head\.weight"):
        open_source(find_source(str(tmp_path / "headless")), Config())


def test_compiled_it_is_one_graph_with_the_same_loss() -> None:
    hf = llama()
    patch(hf, alpha="learnable")
    model, tokens = PretrainedModel(hf, 64), torch.randint(3, VOCABULARY, (2, 16))
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    loss = compiled(tokens, targets=tokens).loss
    assert loss.item() == pytest.approx(model(tokens, targets=tokens).loss.item(), rel=1e-6)


def test_gguf_files_are_opened_dense_by_file_or_folder(tmp_path: Path) -> None:
    hf, tokens = llama(mlp_bias=False), ids(2, 8)
    write_gguf(hf, tmp_path / "tiny.gguf")
    for init in (tmp_path / "tiny.gguf", tmp_path):
        source = find_source(str(init))
        assert (source.gguf_file, source.tokenizer) == ("tiny.gguf", str(tmp_path / "tiny.gguf"))
        model, report = open_source(source, Config(patch=PatchConfig()))
        assert report is not None
        assert report.unchanged
        assert (model(tokens).logits - hf(tokens).logits).abs().max() < 1e-4
    write_gguf(hf, tmp_path / "other.gguf")
    with pytest.raises(UserError, match="it holds 2 GGUF files; name one of them"):
        find_source(str(tmp_path))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match="transformers cannot open it") as error:
        _ = find_source(str(tmp_path / "broken.gguf")).config
    assert "\n" not in str(error.value)


def test_an_exported_model_of_ours_is_one_of_ours(tmp_path: Path) -> None:
    own = build(ModelConfig(n_layer=1, n_head=2, n_embd=16, block_size=16, vocab_size=30))
    assert find_source(str(save(own, tmp_path / "own"))).is_ours
    llama().save_pretrained(tmp_path / "theirs")
    assert not find_source(str(tmp_path / "theirs")).is_ours
    with pytest.raises(UserError, match=r"neither config\.json nor a GGUF file"):
        find_source(str(tmp_path))
