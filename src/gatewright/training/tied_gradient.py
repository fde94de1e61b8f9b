"""The gradient of an embedding that is also the head, without a second matrix of its size.

Autograd adds two gradients of shape ``(V, D)``: the head's, which is dense, and the embedding's, which the compiler
forms as a matrix of zeros with a row added for each token. Here the rows are added to the head's at once.
"""

from __future__ import annotations

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass

PUT = torch.ops.aten._unsafe_masked_index_put_accumulate.default


class TiedGradient(CustomGraphPass):
    """`join` for torch's compiler, whose cache asks for a name of what was done."""

    def __call__(self, graph: fx.Graph) -> None:
        """Change ``graph``, a compiled pass, in place."""
        join(graph)

    def uuid(self) -> str:
        """Changes when `join` does."""
        return "gatewright tied gradient 1"


def join(graph: fx.Graph) -> int:
    """Write ``x + put(zeros, …)`` as ``put(x, …)``, in place; how often that was done."""
    done = 0
    for add in graph.find_nodes(op="call_function", target=torch.ops.aten.add.Tensor):
        if add.kwargs or not all(isinstance(one, fx.Node) for one in add.args):
            continue
        left, right = add.args
        for dense, put in ((left, right), (right, left)):
            if _puts_into_zeros(put) and _form(dense) == _form(put):
                with graph.inserting_before(add):
                    joined = graph.call_function(PUT, (dense, *put.args[1:]))
                joined.meta = dict(add.meta)
                add.replace_all_uses_with(joined)
                graph.erase_node(add)
                graph.erase_node(put)
                done += 1
                break
    graph.eliminate_dead_code()
    return done


def _puts_into_zeros(node: fx.Node) -> bool:
    """Whether nothing but the sum sees what ``node`` has put into zeros."""
    if node.target is not PUT or len(node.users) != 1:
        return False
    zeros = node.args[0]
    return isinstance(zeros, fx.Node) and zeros.target is torch.ops.aten.full.default and zeros.args[1:] == (0,)


def _form(node: fx.Node) -> tuple[torch.Size, torch.dtype]:
    value = node.meta["val"]
    return value.shape, value.dtype
