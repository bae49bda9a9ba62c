"""Weights that are spread over processes (FSDP2): put together to be written, and dealt out again.

What is written does not show how many processes trained it: states and checkpoints are those of one process, and a
training may go on with another number. Every function here has to be called by all processes.
"""

from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(accelerator: Any) -> bool:
    """Whether each process holds a part of the weights."""
    return bool(accelerator.distributed_type == DistributedType.FSDP)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor with its parts of all processes; one that is not spread as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def let_go(module: nn.Module) -> None:
    """Gives back what a forward pass has gathered that no backward pass follows."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def whole_weights(accelerator: Any, model: Any) -> dict[str, torch.Tensor] | None:
    """The weights by name, in the memory of the first process; None where each process holds all of them."""
    if not is_sharded(accelerator):
        return None
    found: dict[int, torch.Tensor] = {}
    kept: dict[str, torch.Tensor] = {}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, tensor in model.state_dict().items():
        parameter = parameters.get(name, tensor)
        # Tied weights are one tensor, and stay one.
        if id(parameter) not in found:
            gathered = whole(parameter.detach())
            found[id(parameter)] = gathered.cpu() if accelerator.is_main_process else torch.empty(0)
        kept[name] = found[id(parameter)]
    return kept


def whole_optimizer(optimizer: Any) -> dict[str, Any]:
    """The optimizer's `state_dict`, in the form that it has in one process."""
    state = optimizer.state_dict()
    moments = {
        number: {name: whole(value).cpu() if isinstance(value, DTensor) else value for name, value in of_one.items()}
        for number, of_one in state["state"].items()
    }
    return {**state, "state": moments}


def load_optimizer(optimizer: Any, state: dict[str, Any]) -> None:
    """Takes what `whole_optimizer` gave, each process its part."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {name: _dealt(value, parameters[number]) for name, value in of_one.items()}
        for number, of_one in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


def _dealt(value: Any, parameter: torch.Tensor) -> Any:
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
