"""What people write in YAML and YAML reads otherwise: said before it does harm."""

from difflib import get_close_matches
from math import isfinite
from typing import Any

import yaml

from schemas.errors import ConfigError

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def refuse_odd_numbers(node: Any, place: str = "") -> None:
    """Raises ConfigError for a plain 010 (YAML 1.1 reads octal: 8) or 1:30 (base 60: 90), anywhere in the node.

    `place` is named in the message; left out, it is the file and line that the node's marks name.
    """
    if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS:
        digits = node.value.lstrip("+-")
        octal = len(digits) > 1 and digits[0] == "0" and digits.replace("_", "").isdigit()
        if octal or ":" in digits:
            read = yaml.safe_load(node.value)
            at = place or f"{node.start_mark.name}:{node.start_mark.line + 1}"
            what = "write the number that is meant in decimals, or a text in quotes"
            raise ConfigError(f"{at}: {node.value} is {read} to YAML: {what}")
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        for part in child if isinstance(child, tuple) else (child,):
            refuse_odd_numbers(part, place)


def hint(problem: str, given: Any) -> str:
    """What to write where pydantic's `problem` is that a text was given for a number, or the other way round."""
    if problem in ("int_type", "float_type", "int_parsing", "float_parsing") and isinstance(given, str):
        try:
            number = float(given)
        except ValueError:
            return ""
        if not isfinite(number):
            return ""
        whole = int(number) if number.is_integer() else number
        return f"; that is a text to YAML: write {whole if 'int' in problem else number!r}, without quotes"
    if problem == "int_from_float" or (problem == "int_type" and isinstance(given, float) and given.is_integer()):
        return f"; write {given:.0f}"
    if problem == "string_type" and isinstance(given, bool):
        return "; YAML reads yes, no, on and off as true and false: put it in quotes"
    if problem == "string_type" and isinstance(given, int | float):
        return "; put it in quotes"
    return ""


def meant(given: Any, known: list[str]) -> str:
    """`did you mean ...?` for a name that is close to one of those known, else nothing."""
    close = get_close_matches(str(given), known, 1)
    return f"did you mean {close[0]}? " if close else ""
