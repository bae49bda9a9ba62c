"""The reference model of reinforcement learning."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


class Reference:
    """A kept copy of the trained weights, which can take their place for a while: no second model is needed."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._kept = {name: p.detach().clone() for name, p in self._trained()}

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self._model.named_parameters() if p.requires_grad)

    def renew(self) -> None:
        """The weights as they are now become the reference."""
        for name, p in self._trained():
            self._kept[name].copy_(p.detach())

    def swap(self) -> None:
        """Exchanges the model's weights and the kept ones; a second call exchanges them back. Nothing is copied."""
        for name, p in self._trained():
            p.data, self._kept[name] = self._kept[name], p.data

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The kept weights by name."""
        return self._kept

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Takes kept weights from a state."""
        for name, p in self._trained():
            self._kept[name] = tensors[name].to(p.device, p.dtype)
