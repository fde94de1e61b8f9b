"""Which parameter is updated how: decay and learning rate by parameter group, AdamW, and Muon for hidden matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gatewright.config import TrainConfig
from gatewright.errors import RunError
from gatewright.parts.alpha.base import Alpha
from gatewright.training.parallel.base import Parallel, load_by_parameter

FUSED = ("cpu", "cuda", "mps")
CLIP_EPSILON = 1e-6
"""As in `torch.nn.utils.clip_grads_with_norm_`."""
MEMORY = {"adamw": {"step", "exp_avg", "exp_avg_sq"}, "muon": {"momentum_buffer"}}
"""What each algorithm remembers of a parameter."""


@dataclass
class ParameterGroup:
    """Parameters that share an algorithm, a peak learning rate and a weight decay."""

    name: str
    algorithm: str
    """``adamw`` or ``muon``."""
    learning_rate: float
    weight_decay: float
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[ParameterGroup]:
    """The trainable parameters of ``model``, each in exactly one group; empty groups are left out.

    ``alpha``: everything in an `Alpha` module, with its own learning rate and no decay. ``no_decay``: norms, biases
    and other parameters with fewer than two dimensions, and those of modules that say ``no_weight_decay = True``.
    ``decay``: the rest. With ``optimizer=muon`` the two-dimensional weights of hidden layers are taken out of these
    into groups of their own; embeddings and the output head stay with AdamW (Jordan et al., 2024).
    """
    alpha_lr = config.learning_rate if config.alpha_learning_rate is None else config.alpha_learning_rate
    groups = {
        "decay": ParameterGroup("decay", "adamw", config.learning_rate, config.weight_decay),
        "no_decay": ParameterGroup("no_decay", "adamw", config.learning_rate, 0.0),
        "alpha": ParameterGroup("alpha", "adamw", alpha_lr, 0.0),
        "muon_decay": ParameterGroup("muon_decay", "muon", config.learning_rate, config.weight_decay),
        "muon_no_decay": ParameterGroup("muon_no_decay", "muon", config.learning_rate, 0.0),
    }
    hidden = _hidden_matrices(model) if config.optimizer == "muon" else set()
    seen: set[nn.Parameter] = set()  # a tied weight is reached twice and belongs to its first owner
    for name, parameter, owner, in_alpha in _owned_parameters(model):
        if parameter in seen or not parameter.requires_grad:
            continue
        seen.add(parameter)
        if in_alpha:
            group = "alpha"
        else:
            decays = parameter.ndim >= 2 and not getattr(owner, "no_weight_decay", False)
            group = ("muon_" if parameter in hidden else "") + ("decay" if decays else "no_decay")
        groups[group].parameters[name] = parameter
    return [group for group in groups.values() if group.parameters]


def companion_group(companion: nn.Module, config: TrainConfig) -> ParameterGroup:
    """The parameters of a module that is trained beside the model, as ``companion.…``, without decay.

    Their peak learning rate is the module's attribute ``learning_rate``, where it has one.
    """
    rate = getattr(companion, "learning_rate", None) or config.learning_rate
    own = {f"companion.{name}": p for name, p in companion.named_parameters() if p.requires_grad}
    return ParameterGroup("companion", "adamw", rate, 0.0, own)


def _owned_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module, bool]]:
    """(name, parameter, the module that holds it, whether that is an α or inside one), in the model's order."""
    alphas = [prefix for prefix, module in model.named_modules() if isinstance(module, Alpha)]
    for prefix, module in model.named_modules():
        in_alpha = any(prefix == alpha or prefix.startswith(f"{alpha}.") for alpha in alphas)
        for name, parameter in module.named_parameters(recurse=False):
            yield (f"{prefix}.{name}" if prefix else name), parameter, module, in_alpha


def _hidden_matrices(model: nn.Module) -> set[torch.Tensor]:
    """Weights of linear layers between the embedding and the output head."""
    outside = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    head = getattr(model, "head", None)
    if isinstance(head, nn.Linear):
        outside.add(head.weight)
    return {module.weight for module in model.modules() if isinstance(module, nn.Linear)} - outside


class Optimizers:
    """One or two torch optimizers that step as one; learning rates are set from outside, state is kept by name."""

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        device: torch.device,
        companion: nn.Module | None = None,
        parallel: Parallel | None = None,
    ) -> None:
        self.parallel = parallel or Parallel(device)
        self.groups = parameter_groups(model, config)
        if companion is not None and (beside := companion_group(companion, config)).parameters:
            self.groups.append(beside)
        self.fused = device.type in FUSED and all(group.algorithm == "adamw" for group in self.groups)
        self.optimizers: list[torch.optim.Optimizer] = []
        adamw = [group for group in self.groups if group.algorithm == "adamw"]
        muon = [group for group in self.groups if group.algorithm == "muon"]
        if adamw:
            betas = (config.beta1, config.beta2)
            fused = device.type in FUSED
            options = {"betas": betas, "eps": config.epsilon, "fused": fused}
            self.optimizers.append(self.parallel.adamw(_torch_groups(adamw), **options))
        if muon:
            # With this adjustment an update has the size of AdamW's, so that learning rate and decay carry over
            # (Liu et al., 2025, arXiv:2502.16982).
            self.optimizers.append(torch.optim.Muon(_torch_groups(muon), adjust_lr_fn="match_rms_adamw"))

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Every parameter that is updated."""
        return [parameter for group in self.groups for parameter in group.parameters.values()]

    def set_learning_rate(self, multiplier: float) -> None:
        """Set every group's learning rate to its peak times ``multiplier``."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * multiplier

    def clip(self, limit: float, norm: Tensor) -> None:
        """Scale the gradients of the coming step down so that their norm, which is ``norm``, is at most ``limit``.

        A fused kernel does it as it reads them, and leaves them scaled; they would otherwise be read and written once
        more.
        """
        if self.fused and not self.parallel.shards_gradients:
            scale = ((norm.float() + CLIP_EPSILON) / limit).clamp(min=1.0)
            for optimizer in self.optimizers:
                self.parallel.own(optimizer).grad_scale = scale  # type: ignore[attr-defined]  # torch.amp's way in
        else:
            nn.utils.clip_grads_with_norm_(self.parameters, limit, norm)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:  # as each optimizer's own method does, which takes 0.1 ms for 68 of them
            parameter.grad = None

    def state_tensors(self) -> dict[str, Tensor]:
        """The optimizers' memory in this process, as ``{"exp_avg/blocks.0.attention.query.weight": tensor, …}``."""
        names: dict[Tensor, str] = {p: name for group in self.groups for name, p in group.parameters.items()}
        return {
            f"{key}/{names[parameter]}": value
            for optimizer in self.optimizers
            for parameter, state in self.parallel.own(optimizer).state.items()
            for key, value in state.items()
        }

    @property
    def remembered(self) -> dict[str, nn.Parameter]:
        """By name the parameters whose memory this process keeps."""
        own = [self.parallel.own(optimizer) for optimizer in self.optimizers]
        mine = {parameter for optimizer in own for group in optimizer.param_groups for parameter in group["params"]}
        return {name: p for group in self.groups for name, p in group.parameters.items() if p in mine}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state_tensors` gave; `RunError` when it belongs to other parameters."""
        owners = {name: parameter for group in self.groups for name, parameter in group.parameters.items()}
        by_parameter: dict[nn.Parameter, dict[str, Tensor]] = {}
        for path, tensor in tensors.items():
            key, _, name = path.partition("/")
            if name not in owners:
                raise RunError(f"the optimizer state does not belong to this model, which has no parameter '{name}'")
            by_parameter.setdefault(owners[name], {})[key] = tensor
        for group in self.groups:
            for name, parameter in group.parameters.items():
                found = by_parameter.get(parameter, {})
                if found and (found.keys() != MEMORY[group.algorithm] or not _fits(found, parameter)):
                    raise RunError(f"the optimizer state of '{name}' is not that of {group.algorithm}")
        for optimizer in self.optimizers:
            load_by_parameter(self.parallel.own(optimizer), by_parameter)


def _fits(memory: Mapping[str, Tensor], parameter: nn.Parameter) -> bool:
    """Whether all tensors are of the parameter's shape; a count is a single number."""
    return all(tensor.shape == (() if key == "step" else parameter.shape) for key, tensor in memory.items())


def _torch_groups(groups: list[ParameterGroup]) -> list[dict[str, object]]:
    return [
        {
            "params": list(group.parameters.items()),
            "lr": group.learning_rate,
            "peak_lr": group.learning_rate,
            "weight_decay": group.weight_decay,
            "name": group.name,
        }
        for group in groups
    ]
