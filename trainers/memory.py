"""How much memory a training takes and how long it runs at least, worked out before it starts."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

_FLOAT = 4  # bytes


@dataclass(frozen=True)
class Shape:
    """What of a model counts here: its parameters, and the widths of its layers in values."""

    parameters: int
    layers: int
    hidden: int
    key_value: int
    intermediate: int
    vocabulary: int
    tied: bool

    @classmethod
    def of(cls, model: Any) -> "Shape":
        """The shape of a transformers model, which may lie on the device `meta`."""
        config = model.config.get_text_config()
        hidden, heads = config.hidden_size, config.num_attention_heads
        head = getattr(config, "head_dim", None) or hidden // heads
        return cls(
            parameters=sum(p.numel() for p in model.parameters()),
            layers=config.num_hidden_layers,
            hidden=hidden,
            key_value=head * (getattr(config, "num_key_value_heads", None) or heads),
            intermediate=getattr(config, "intermediate_size", None) or 4 * hidden,
            vocabulary=config.vocab_size,
            tied=bool(config.tie_word_embeddings),
        )


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a step, by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of them together; the program and its libraries come on top."""
        return sum(asdict(self).values())


def memory_of(shape: Shape, slots: int, labelled: int) -> Memory:
    """What training all weights in fp32 takes, for a micro-batch of so many slots (padding included) and learnt tokens.

    With P parameters: weights 4 P bytes, gradients 4 P, AdamW's two moments 8 P. A layer of the usual kind (RMSNorm,
    grouped attention without a matrix of scores, gated MLP) keeps 8 hidden + 2 key_value + 4 intermediate values of
    every slot for the way back; going forward and back takes about two layers' more on top, as measured. Of every
    learnt token there are three rows of the vocabulary: logits, log-probabilities, gradient. Models of another kind
    take more or less; where attention has no fused kernel, its scores come on top.
    """
    of_a_slot = 8 * shape.hidden + 2 * shape.key_value + 4 * shape.intermediate
    return Memory(
        weights=_FLOAT * shape.parameters,
        gradients=_FLOAT * shape.parameters,
        optimizer=2 * _FLOAT * shape.parameters,
        activations=_FLOAT * slots * (shape.layers + 2) * of_a_slot,
        logits=3 * _FLOAT * labelled * shape.vocabulary,
    )


def seconds_at_least(shape: Shape, slots: int, labelled: int, device: torch.device) -> float:
    """How long the matrix products alone of so many slots take, forward and back, at the rate measured just now.

    6 operations per slot and parameter of the layers, and per learnt token and parameter of the output layer: 2
    forward, 4 back. The rate is of one of the model's own products in fp32, which takes a moment.
    """
    output = shape.vocabulary * shape.hidden
    body = shape.parameters - output * (1 if shape.tied else 2)
    return 6 * (body * slots + output * labelled) / _rate(shape, device)


def _rate(shape: Shape, device: torch.device) -> float:
    """Operations per second, the best of five."""
    rows = 1024
    left = torch.ones(rows, shape.hidden, device=device)
    right = torch.ones(shape.hidden, shape.intermediate, device=device)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        product = left @ right
        product.sum().item()  # waits for a device that works on its own
        best = min(best, time.perf_counter() - began)
    return 2 * rows * shape.hidden * shape.intermediate / best
