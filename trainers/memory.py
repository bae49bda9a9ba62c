"""How much memory a training takes and how long it runs at least, worked out before it starts."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

_FLOAT = 4  # bytes
_LOGITS = 1 << 26  # `token_logprobs` works out no more at once


@dataclass(frozen=True)
class Shape:
    """What of a model counts here: its parameters, those of them that are trained, and the widths of its layers."""

    parameters: int
    trained: int
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
            trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
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


def memory_of(
    shape: Shape, slots: int, labelled: int, *, precision: str = "fp32", checkpointing: bool = False
) -> Memory:
    """What a micro-batch of so many slots (padding included) and learnt tokens takes, in one process.

    With P parameters, T of them trained: weights 4 P bytes, and 2 P for their copies in bf16; gradients 4 T; AdamW's
    two moments 8 T. A layer of the usual kind (RMSNorm, attention that keeps no matrix of scores, gated MLP) keeps of
    every slot for the way back

        8 hidden + 2 key_value + 4 intermediate      values of 4 bytes in fp32,
        6 hidden of 4 bytes, and 4 hidden + 2 key_value + 4 intermediate of 2      in bf16,

    or, with activation checkpointing, its input alone. Going forward and back takes about two layers' more on top, as
    measured. Of the learnt tokens that are worked out at once there are three rows of the vocabulary in fp32: logits,
    log-probabilities, gradient. Models of another kind take more or less.
    """
    inner = 2 * shape.key_value + 4 * shape.intermediate
    low = precision == "bf16"
    layer = 24 * shape.hidden + 2 * (4 * shape.hidden + inner) if low else _FLOAT * (8 * shape.hidden + inner)
    kept = _FLOAT * shape.hidden * shape.layers + layer if checkpointing else shape.layers * layer
    return Memory(
        weights=(_FLOAT + 2 * low) * shape.parameters,
        gradients=_FLOAT * shape.trained,
        optimizer=2 * _FLOAT * shape.trained,
        activations=slots * (kept + 2 * layer),
        logits=3 * _FLOAT * min(labelled * shape.vocabulary, _LOGITS),
    )


def seconds_at_least(shape: Shape, slots: int, labelled: int, device: torch.device) -> float:
    """How long the matrix products alone of so many slots take, forward and back, at the rate measured just now.

    6 operations per slot and parameter of the layers, and per learnt token and parameter of the output layer: 2
    forward, 4 back. The rate is that of a product of the model's widths in fp32; half a second is spent on it.
    """
    output = shape.vocabulary * shape.hidden
    body = shape.parameters - output * (1 if shape.tied else 2)
    return 6 * (body * slots + output * labelled) / _rate(shape, device)


def _rate(shape: Shape, device: torch.device) -> float:
    """Operations per second: the best of what half a second has room for, since others may be at the machine too."""
    rows, hidden, columns = 1024, min(shape.hidden, 2048), min(shape.intermediate, 2048)
    left, right = torch.ones(rows, hidden, device=device), torch.ones(hidden, columns, device=device)
    best, until = float("inf"), time.perf_counter() + 0.5
    while best == float("inf") or time.perf_counter() < until:
        began = time.perf_counter()
        (left @ right).sum().item()  # waits for a device that works on its own
        best = min(best, time.perf_counter() - began)
    return 2 * rows * hidden * columns / best
