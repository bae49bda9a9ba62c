"""What the filters' settings have in common: only those that are not defaults belong into a check's version."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any


def changed(init: Callable[..., None], given: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings `given` (by name) those that differ from the defaults of the constructor `init`.

    Naming a default must not make another version of a check, or every verdict would be asked for again.
    """
    defaults = {n: p.default for n, p in inspect.signature(init).parameters.items()}
    return {n: v for n, v in given.items() if n in defaults and v != defaults[n]}


def share(name: str, value: Any) -> float:
    """`value` as a share of 0.0 to 1.0. Raises TypeError or ValueError, naming the setting."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}; it must be a number from 0 to 1")
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; it must be from 0 to 1")
    return float(value)


def count(name: str, value: Any, least: int = 0) -> int:
    """`value` as a whole number of `least` or more. Raises TypeError or ValueError, naming the setting."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}; it must be a whole number")
    if value < least:
        raise ValueError(f"{name} is {value}; it must be at least {least}")
    return value
