"""One face for the models that paths are generated with: ours and those of Hugging Face."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.model.language_model import LanguageModel

Head = Callable[[Tensor], Tensor]


class Policy(ABC):
    """A causal language model that goes on from input embeddings, with a cache of keys and values.

    R rows, V tokens, width D. ``mask`` ``(R, S)`` is false for padding, over the cached tokens and these.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def device(self) -> torch.device:
        """Where inputs belong."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """V."""

    @property
    def width(self) -> int:
        """D."""
        return self.embed(torch.zeros(1, 1, dtype=torch.long, device=self.device)).shape[-1]

    @property
    @abstractmethod
    def room(self) -> int | None:
        """The most tokens of a sequence; None if the model does not say."""

    @property
    def end_ids(self) -> set[int]:
        """The tokens that end a text, as far as the model knows them."""
        return set()

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings of token ids, ``(R, T)`` to ``(R, T, D)``."""

    @abstractmethod
    def new_cache(self, capacity: int) -> Any:
        """An empty cache for sequences of at most ``capacity`` tokens."""

    @abstractmethod
    def keep_rows(self, cache: Any, rows: Tensor) -> None:
        """Let the cache hold these of its rows, in this order; a row may come several times."""

    @abstractmethod
    def next_logits(self, inputs: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        """Logits ``(R, V)`` after the last of ``inputs`` ``(R, T, D)``, whose keys and values go to the cache."""

    @abstractmethod
    def features(self, inputs: Tensor, mask: Tensor, positions: Tensor) -> tuple[Tensor, Head]:
        """Features ``(R, T, F)`` and the head that makes logits ``(…, V)`` of any part of them; without a cache."""


class OwnPolicy(Policy):
    """A `gatewright.model.language_model.LanguageModel`."""

    model: LanguageModel

    @property
    def vocab_size(self) -> int:
        return self.model.embedding.num_embeddings

    @property
    def room(self) -> int:
        return self.model.block_size

    def embed(self, ids: Tensor) -> Tensor:
        return self.model.embed(ids)

    def new_cache(self, capacity: int) -> Any:
        return self.model.new_cache(capacity)

    def keep_rows(self, cache: Any, rows: Tensor) -> None:
        cache.keep_rows(rows)

    def next_logits(self, inputs: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        output = self.model(inputs_embeds=inputs, attention_mask=mask, positions=positions, cache=cache)
        logits: Tensor = output.logits[:, -1]
        return logits

    def features(self, inputs: Tensor, mask: Tensor, positions: Tensor) -> tuple[Tensor, Head]:
        hidden = self.model.hidden_states(inputs_embeds=inputs, attention_mask=mask, positions=positions)
        return hidden, self.model.logits


class HuggingFacePolicy(Policy):
    """A causal language model of transformers, also one that peft has wrapped."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.config = self.causal.config.get_text_config()

    @property
    def vocab_size(self) -> int:
        return int(self.config.vocab_size)

    @property
    def room(self) -> int | None:
        return getattr(self.config, "max_position_embeddings", None)

    @property
    def end_ids(self) -> set[int]:
        ends = self.causal.generation_config.eos_token_id
        return set() if ends is None else set(ends) if isinstance(ends, list) else {ends}

    def embed(self, ids: Tensor) -> Tensor:
        embeddings: Tensor = self.causal.get_input_embeddings()(ids)
        return embeddings

    def new_cache(self, capacity: int) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self.config)

    def keep_rows(self, cache: Any, rows: Tensor) -> None:
        cache.batch_select_indices(rows)

    def next_logits(self, inputs: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        logits: Tensor = self.model(
            inputs_embeds=inputs,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            **self._last_alone,
        ).logits
        return logits[:, -1]

    def features(self, inputs: Tensor, mask: Tensor, positions: Tensor) -> tuple[Tensor, Head]:
        """What the head reads; the logits themselves where a model does more to them than its head does."""
        given = {"attention_mask": mask.long(), "position_ids": positions, "use_cache": False}
        if self._head_is_all:
            hidden = self.causal.base_model(inputs_embeds=inputs, **given).last_hidden_state
            return hidden, self.causal.get_output_embeddings()
        return self.model(inputs_embeds=inputs, **given).logits, nn.Identity()

    @cached_property
    def _last_alone(self) -> dict[str, int]:
        """How to ask for the logits of the last position alone, where that can be asked for."""
        known = inspect.signature(self.causal.forward).parameters
        return {"logits_to_keep": 1} if "logits_to_keep" in known else {}

    @property
    @torch.no_grad()
    def _head_is_all(self) -> bool:
        """Whether logits are the head of the last hidden state and no more (some models scale or cap them): tried."""
        from transformers import PreTrainedModel

        trunk, head = self.causal.base_model, self.causal.get_output_embeddings()
        if head is None or trunk is self.causal or not isinstance(trunk, PreTrainedModel):
            return False
        tokens = self.embed(torch.arange(min(16, self.vocab_size), device=self.device)[None])  # one may be all zeros
        hidden = trunk(inputs_embeds=tokens, use_cache=False).last_hidden_state
        return torch.equal(head(hidden), self.model(inputs_embeds=tokens, use_cache=False).logits)


def policy_of(model: nn.Module) -> Policy:
    """The face of ``model``. Raises `UserError` for what is no language model."""
    model = getattr(model, "hf", model)  # one of transformers as our trainer holds it
    if isinstance(model, LanguageModel):
        return OwnPolicy(model)
    if not hasattr(model, "get_input_embeddings"):
        raise UserError(f"paths need a causal language model, not {type(model).__name__}")
    return HuggingFacePolicy(model)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off; each module returns to the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def places(mask: Tensor) -> Tensor:
    """Positions ``(R, S)`` of tokens in their own text: those of padding on the left are 0."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)
