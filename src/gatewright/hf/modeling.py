"""Our models as Hugging Face models."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, Cache, DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from gatewright.hf.assemble import assemble_from, kernels
from gatewright.hf.cache import BorrowedCache
from gatewright.hf.configuration import GatewrightConfig
from gatewright.model.block import Block
from gatewright.model.language_model import LanguageModel
from gatewright.model.linear_cross_entropy import IGNORED
from gatewright.model.trunk import Trunk
from gatewright.parts.part import Part


class GatewrightBlock(Block):
    """A block whose activations need not be kept for the backward pass: it can be computed again there."""

    gradient_checkpointing = False
    _gradient_checkpointing_func: Any  # transformers sets both on each block

    def forward(self, *args: Any) -> Tensor:
        """`Block.forward`, checkpointed in training where that was asked for."""
        if not (self.gradient_checkpointing and self.training):
            return super().forward(*args)
        x = self._gradient_checkpointing_func(super().forward, *args)
        if self.feedforward.aux_loss is not None and self._gradient_checkpointing_func.keywords.get("use_reentrant"):
            raise ValueError("a mixture of experts has an auxiliary loss, which checkpointing with use_reentrant loses")
        return x


class GatewrightPreTrainedModel(PreTrainedModel):
    """What the two classes below tell transformers about themselves."""

    config: GatewrightConfig
    config_class = GatewrightConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    # What blocks are called with are records of ours, which accelerate cannot move between devices.
    _no_split_modules = ["GatewrightModel"]
    _keep_in_fp32_modules_strict = [r"alpha\.(raw|value)"]  # 0.3 is not 0.3 in bfloat16
    _can_record_outputs = {"hidden_states": GatewrightBlock}
    _can_set_attn_implementation_cached_value = False

    @property
    def _supports_sdpa(self) -> bool:  # type: ignore[override]
        return kernels(self.config) == {"sdpa"}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Start what no checkpoint has filled, as the model's own initialisation says.

        transformers calls this for modules that hold a tensor without a value, be it a counter that is never saved;
        whatever was loaded into the same module stays.
        """
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        loaded = [(tensor, tensor.clone()) for tensor in own if getattr(tensor, "_is_hf_initialized", False)]
        rule: Any = self.base_model.init
        if type(module) is nn.Linear:
            nn.init.normal_(module.weight, std=rule.linear_std(module, getattr(module, "is_residual_output", False)))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif type(module) is nn.Embedding:
            nn.init.normal_(module.weight, std=rule.embedding_std(module))
        elif isinstance(module, Part):
            module.reset()
        elif next(module.parameters(recurse=False), None) is not None:
            module.reset_parameters()  # type: ignore[operator]
        for tensor, value in loaded:
            tensor.copy_(value)


class GatewrightModel(Trunk, GatewrightPreTrainedModel):
    """The trunk of a `LanguageModel`, whose modules it has under the same names."""

    def __init__(self, config: GatewrightConfig) -> None:
        super().__init__(config)
        self.take(assemble_from(config))
        self.gradient_checkpointing = False
        self.post_init()

    def take(self, model: LanguageModel) -> None:
        """Be the trunk of ``model``: its very modules, with blocks that can be checkpointed."""
        for name in (*Trunk.__annotations__, "init"):
            setattr(self, name, getattr(model, name))
        for block in self.blocks:
            block.__class__ = GatewrightBlock

    @capture_outputs  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """What the head reads, ``(B, T, D)``, and the cache.

        - ``attention_mask`` ``(B, S)``: 0 for padding, on either side, over the cached tokens and these.
        - ``inputs_embeds`` ``(B, T, D)``: what `get_input_embeddings` gives; scaled here where the model scales.
        - ``use_cache``: the configuration's choice if left out, and no in training.
        """
        if kwargs.get("output_attentions"):
            raise ValueError("output_attentions: a Gatewright model does not keep attention weights")
        if self.gradient_checkpointing and self.training:
            if past_key_values is not None:
                raise ValueError("in training with activation checkpointing a cache would be filled twice; call eval()")
            use_cache = False
        elif use_cache is None:
            use_cache = self.config.use_cache and not self.training
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        cache = None if past_key_values is None else BorrowedCache(past_key_values, len(self.blocks))
        if attention_mask is not None and attention_mask.ndim != 2:
            raise ValueError(f"attention_mask must be (B, S), not of {attention_mask.ndim} dimensions")
        if attention_mask is not None and not torch.compiler.is_compiling() and attention_mask.all():
            attention_mask = None  # nothing is padded; attention has faster kernels without a mask
        x = self.hidden_states(
            input_ids,
            attention_mask=attention_mask,
            positions=position_ids,
            cache=cache,
            inputs_embeds=None if inputs_embeds is None else inputs_embeds * self.embedding_scale,
        )
        return BaseModelOutputWithPast(last_hidden_state=x, past_key_values=past_key_values)

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embedding."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        self.embedding = value  # type: ignore[assignment]

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Other names of tensors that modules share, such as one α for all layers, each with the first one."""
        first: dict[int, str] = {}
        named = self.named_parameters(remove_duplicate=False)
        known = [(name, first.setdefault(id(tensor), name)) for name, tensor in named]
        shared = {name: source for name, source in known if name != source}
        self._tied_weights_keys = shared  # where transformers looks when it saves
        return dict(shared)


class GatewrightForCausalLM(GatewrightPreTrainedModel, GenerationMixin):
    """A `LanguageModel` under the interface of transformers.

    Tensors are named as in a run's checkpoints, those of the trunk with ``model.`` in front; both spellings are read.
    Which kernel computes attention is the configuration's choice: ``attn_implementation="sdpa"`` is there if all layers
    have it, and then ``"eager"`` stands for ``manual``.
    """

    _tied_weights_keys = {"head.weight": "model.embedding.weight"}

    def __init__(self, config: GatewrightConfig) -> None:
        super().__init__(config)
        self.model = GatewrightModel(config)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits ``(B, T, V)``, the loss where there are labels, and the cache; see `GatewrightModel.forward`.

        - ``labels`` ``(B, T)``: scored against the next position; ``shift_labels`` (a keyword, lest trainers take it
          for something that every batch has): shifted already. −100 is not scored.
        - ``logits_to_keep``: only those of so many last positions, or of these.
        - ``num_items_in_batch``: what the sum of losses is divided by, if not by the positions scored here.
        """
        shift_labels: Tensor | None = kwargs.pop("shift_labels", None)
        trunk = self.model(
            input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits, loss = self.head(trunk.last_hidden_state[:, kept]), None
        if labels is not None and shift_labels is None:
            shift_labels = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
        if shift_labels is not None:
            counts = {"num_items_in_batch": num_items_in_batch, "ignore_index": IGNORED, "shift_labels": shift_labels}
            loss = self.loss_function(logits, labels, vocab_size=logits.shape[-1], **counts)
            if (aux := self.model.aux_loss()) is not None:
                # A part of a larger batch adds the same share of this loss as of the other.
                share = 1 if num_items_in_batch is None else (shift_labels != IGNORED).sum() / num_items_in_batch
                loss = loss + aux * share
        return CausalLMOutputWithPast(loss, logits, trunk.past_key_values, trunk.hidden_states)

    def get_output_embeddings(self) -> nn.Linear:
        """The output head."""
        return self.head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the output head."""
        self.head = value


AutoModel.register(GatewrightConfig, GatewrightModel)
AutoModelForCausalLM.register(GatewrightConfig, GatewrightForCausalLM)
