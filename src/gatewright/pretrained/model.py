"""A model of transformers with the face of a `LanguageModel`."""

from __future__ import annotations

import inspect
from typing import Any, Literal, cast

from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from gatewright.model.language_model import Output
from gatewright.model.linear_cross_entropy import cross_entropy
from gatewright.surgery.alpha import alphas
from gatewright.surgery.record import Record


class PretrainedModel(nn.Module):
    """A causal language model of transformers, ``hf``, for our trainer, our evaluation and our `generate`.

    It holds the modules of ``hf`` under their own names: parameters are called what they are called there, and what is
    saved of it is what ``from_pretrained`` reads.
    """

    hf: PreTrainedModel

    def __init__(self, hf: PreTrainedModel, block_size: int) -> None:
        super().__init__()
        self.__dict__["hf"] = hf  # not a child, which would put its name before those of all parameters
        self._modules, self._parameters, self._buffers = hf._modules, hf._parameters, hf._buffers
        self._non_persistent_buffers_set = hf._non_persistent_buffers_set
        self.block_size = block_size
        self.training = hf.training
        self._takes_positions = "position_ids" in inspect.signature(hf.forward).parameters

    @property
    def embedding(self) -> nn.Embedding:
        """The embedding of tokens."""
        return cast(nn.Embedding, self.hf.get_input_embeddings())

    @property
    def head(self) -> nn.Module | None:
        """What makes logits of the last hidden states."""
        return self.hf.get_output_embeddings()

    def forward(
        self,
        input_ids: Tensor,
        *,
        targets: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: DynamicCache | None = None,
        reduction: Literal["mean", "sum"] = "mean",
        keep_logits: bool = True,
    ) -> Output:
        """Logits ``(B, T, V)`` for ``input_ids`` ``(B, T)``; the arguments are those of `LanguageModel.forward`.

        The loss is the cross-entropy alone, taken in float32 from the logits as they are: transformers' own would copy
        them. They are there whatever ``keep_logits`` says: some models do more to them than their head does.
        """
        given: dict[str, Any] = {"past_key_values": cache, "use_cache": cache is not None}
        if attention_mask is not None:
            given["attention_mask"] = attention_mask.long()
            if self._takes_positions:
                places = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
                given["position_ids"] = places[:, -input_ids.shape[1] :]
        logits: Tensor = self.hf(input_ids=input_ids, **given).logits
        if targets is None:
            return Output(logits)
        entropy = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction)
        return Output(logits, entropy, entropy)

    def train(self, mode: bool = True) -> PretrainedModel:
        """Set the mode of ``hf`` too: dropout between its parts asks for it."""
        super().train(mode)
        self.hf.training = mode
        return self

    def new_cache(self, capacity: int | None = None) -> DynamicCache:
        """An empty cache, which grows as it needs to."""
        return DynamicCache(config=self.hf.config)

    def alphas(self) -> dict[str, float]:
        """The present α of each patched block by the block's number, averaged where it has many."""
        record = Record.read(self.hf.config)
        return dict(zip(map(str, record.layers), alphas(self.hf).values(), strict=True)) if record else {}

    def reports(self) -> dict[str, float]:
        """Nothing more to record."""
        return {}
