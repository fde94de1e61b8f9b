"""Lines about a part on its way elsewhere: into a file, a copy, a compiler."""

from __future__ import annotations

import copy
import pickle

import safetensors.torch
import torch

from gatewright.contract.case import Case
from gatewright.contract.line import demand, demand_close, demand_equal, line


@line()
def saved(case: Case) -> None:
    """The state dict goes through safetensors and gives a part that computes the same, bit for bit."""
    subject, inputs = case.build(), case.inputs()
    content = safetensors.torch.save({name: tensor.contiguous() for name, tensor in subject.state_dict().items()})
    other = case.fresh().eval()
    other.load_state_dict(safetensors.torch.load(content), strict=True)
    demand_equal(other(*inputs), subject(*inputs), "output after loading")


@line()
def copied(case: Case) -> None:
    """Pickling and deep copies give a part that computes the same, bit for bit, and shares nothing with the first."""
    subject, inputs = case.build(), case.inputs()
    subject.train()
    expected = subject(*inputs)  # whatever a forward pass leaves behind must not be in the way
    for how, twin in (("pickle", pickle.loads(pickle.dumps(subject))), ("deepcopy", copy.deepcopy(subject))):
        demand_equal(twin(*inputs), expected, f"output of the {how}")
        owned = {parameter.data_ptr() for parameter in subject.parameters()}
        demand(owned.isdisjoint(p.data_ptr() for p in twin.parameters()), f"the {how} shares memory with the first")


@line(slow=True)
def compiled(case: Case) -> None:
    """torch.compile takes the part as one graph (fullgraph), and output and gradients agree with eager.

    The backend is aot_eager: it traces forward and backward as the real compiler does, but spares generating code,
    which takes ten times as long and depends on the part only through operators that PyTorch tests itself.
    """
    compare_compiled(case, "aot_eager_default_partitioner")


def compare_compiled(case: Case, backend: str) -> None:
    """Demand that the part compiled by ``backend`` agrees with eager: output and gradients, in training."""
    torch.compiler.reset()
    subject = case.build().train()
    compiled_subject = torch.compile(subject, fullgraph=True, backend=backend)
    outcomes = []
    for module in (subject, compiled_subject):
        leaves = [x.requires_grad_() for x in case.inputs()]
        y = module(*leaves)
        sought = [*leaves, *subject.parameters()]
        slopes = torch.autograd.grad(y.square().sum(), sought, allow_unused=True, materialize_grads=True)
        outcomes.append((y, *slopes))
    names = ["output", *(f"gradient of input {i}" for i in range(len(leaves)))]
    names += [f"gradient of {name}" for name, _ in subject.named_parameters()]
    for name, eager, found in zip(names, *outcomes, strict=True):
        demand_close(found, eager, name, atol=1e-5, rtol=1e-5)
