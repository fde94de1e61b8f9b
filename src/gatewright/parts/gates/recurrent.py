"""The gated recurrent unit with gates that α lets in by degrees, for any PyTorch model."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatewright.parts.alpha.parse import make_alpha
from gatewright.parts.part import Dims


def pagru_update(inputs: Tensor, recurrent: Tensor, h: Tensor, alpha: Tensor) -> Tensor:
    """One step: ``h' = α · gated + (1 − α) · plain``, ``(N, H)``.

    With i = W_i x + b_i (``inputs``) and g = W_h h + b_h (``recurrent``), each ``(N, 3H)`` and cut into r, z, n:

    - gated, the GRU as `torch.nn.GRU` computes it: ``r = σ(i_r + g_r)``, ``z = σ(i_z + g_z)``,
      ``n = tanh(i_n + r ⊙ g_n)``, ``gated = (1 − z) ⊙ n + z ⊙ h``;
    - plain, an Elman update without reset or update gate: ``tanh(i_n + g_n)``.

    Both read the same weights, so α = 1 is a GRU, and α = 0 a tanh RNN on the GRU's n-weights.
    """
    input_r, input_z, input_n = inputs.chunk(3, -1)
    recurrent_r, recurrent_z, recurrent_n = recurrent.chunk(3, -1)
    reset, update = torch.sigmoid(input_r + recurrent_r), torch.sigmoid(input_z + recurrent_z)
    gated = (1 - update) * torch.tanh(input_n + reset * recurrent_n) + update * h
    return alpha * gated + (1 - alpha) * torch.tanh(input_n + recurrent_n)


class PaGRUCell(nn.GRUCell):
    """A `torch.nn.GRUCell` whose gates act to the degree α; `pagru_update` is its formula.

    Arguments, shapes and the names of its weights are those of ``nn.GRUCell``; the state dict has α's besides (load a
    GRU's with ``strict=False``). ``alpha`` is any way of writing an α, 0.5 if left out; an α that depends on the input
    sees x. Raises `UserError` for an α that does not exist or lies outside [0, 1].
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        alpha: Any = 0.5,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.alpha = make_alpha(alpha, Dims(input_size, width=hidden_size)).to(device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next hidden state ``(N, H)`` from x ``(N, D)`` and h ``(N, H)`` (zeros if left out); or without N."""
        h = input.new_zeros(*input.shape[:-1], self.hidden_size) if hx is None else hx
        inputs = F.linear(input, self.weight_ih, self.bias_ih)
        return pagru_update(inputs, F.linear(h, self.weight_hh, self.bias_hh), h, self.alpha(input).to(inputs.dtype))


class PaGRU(nn.GRU):
    """A `torch.nn.GRU` whose gates act to the degree α; `pagru_update` is the formula of a step.

    Arguments, shapes, packed sequences and the names of its weights are those of ``nn.GRU``; the state dict has α's
    besides, ``alphas.l0…``, ``alphas.l0_reverse…`` (load a GRU's with ``strict=False``). Each layer and direction has
    an α of its own, unless ``alpha`` is an `Alpha` already, which all share; one that depends on the input sees the
    layer's. Raises `UserError` for an α that does not exist or lies outside [0, 1].

    Steps run one after another in Python: the fused kernels know no α. `torch.compile` leaves it alone, as it does
    ``nn.GRU``, unless ``torch._dynamo.config.allow_rnn`` is set.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        alpha: Any = 0.5,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device=device, dtype=dtype
        )
        directions = ("", "_reverse") if bidirectional else ("",)
        widths = [input_size] + [hidden_size * len(directions)] * (num_layers - 1)
        self.alphas = nn.ModuleDict(
            {
                f"l{layer}{direction}": make_alpha(alpha, Dims(width, width=hidden_size))
                for layer, width in enumerate(widths)
                for direction in directions
            }
        ).to(device, dtype)

    def forward(  # type: ignore[override]
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """The last layer's states at every step and all layers' states after the last.

        ``input`` is ``(T, N, D)`` (``(N, T, D)`` with ``batch_first``), ``(T, D)`` without a batch, or packed; the
        states come in the same layout with ``H`` (``2H`` if bidirectional) in place of D. ``hx`` and the second result
        are ``(layers · directions, N, H)``.
        """
        if isinstance(input, PackedSequence):
            h = self._start(input.data, int(input.batch_sizes[0]), hx, input.sorted_indices)
            self.check_forward_args(input.data, h, input.batch_sizes)
            steps, h = self._run(input.data, h, input.batch_sizes.tolist())
            return input._replace(data=steps), self.permute_hidden(h, input.unsorted_indices)
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(self._batch_dim)
        h = self._start(x, x.shape[self._batch_dim], hx if batched or hx is None else hx.unsqueeze(1), None)
        self.check_forward_args(x, h, None)
        x = x.transpose(0, 1) if self.batch_first else x
        length, batch = x.shape[:2]
        steps, h = self._run(x.flatten(0, 1), h, [batch] * length)
        steps = steps.unflatten(0, (length, batch))
        steps = steps.transpose(0, 1) if self.batch_first else steps
        return (steps, h) if batched else (steps.squeeze(self._batch_dim), h.squeeze(1))

    @property
    def _batch_dim(self) -> int:
        return 0 if self.batch_first else 1

    def _start(self, x: Tensor, batch: int, hx: Tensor | None, order: Tensor | None) -> Tensor:
        if hx is not None:
            return self.permute_hidden(hx, order)
        return x.new_zeros(self.num_layers * (1 + self.bidirectional), batch, self.hidden_size)

    def _run(self, x: Tensor, h: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
        """All layers over x ``(ΣN_t, D)``, whose step t has ``sizes[t]`` rows, never more than the step before."""
        last, starts = [], iter(h)
        for layer in range(self.num_layers):
            if layer:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for direction in ("", "_reverse") if self.bidirectional else ("",):
                states, final = self._scan(x, next(starts), sizes, f"l{layer}{direction}")
                outputs.append(states)
                last.append(final)
            x = torch.cat(outputs, -1)
        return x, torch.stack(last)

    def _scan(self, x: Tensor, start: Tensor, sizes: list[int], name: str) -> tuple[Tensor, Tensor]:
        """One layer in one direction: the states at each step, in the order of time, and those sequences end with."""
        weight, bias = getattr(self, f"weight_hh_{name}"), getattr(self, f"bias_hh_{name}", None)
        inputs = F.linear(x, getattr(self, f"weight_ih_{name}"), getattr(self, f"bias_ih_{name}", None))
        alpha = torch.atleast_1d(self.alphas[name](x).to(inputs.dtype)).expand(len(x), -1)
        steps = list(zip(inputs.split(sizes), alpha.split(sizes), strict=True))
        if name.endswith("_reverse"):
            steps.reverse()
        h, states, ended = start[: len(steps[0][0])], [], []
        for step_inputs, step_alpha in steps:
            rows = len(step_inputs)
            if rows < len(h):  # forwards in time, the shortest sequences end first
                ended.append(h[rows:])
                h = h[:rows]
            elif rows > len(h):  # backwards, they are the last to begin
                h = torch.cat([h, start[len(h) : rows]])
            h = pagru_update(step_inputs, F.linear(h, weight, bias), h, step_alpha)
            states.append(h)
        if name.endswith("_reverse"):
            states.reverse()
        return torch.cat(states), torch.cat([h, *reversed(ended)])
