"""YAML files read into the models, with errors that name file, line and remedy."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from schemas.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


def load_yaml(path: Path, model: type[M], overrides: Iterable[str] = ()) -> M:
    """The file as a `model`, after `key.key=value` overrides (values are YAML scalars or flow collections).

    Raises ConfigError, `file:line: what is wrong`, for a file that is missing, no YAML, or not what the model wants.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror.lower() if e.strerror else e}") from None
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: not UTF-8 at byte {e.start}") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
        _refuse_repeated_keys(path, root)
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise ConfigError(f"{path}:{line}: no YAML: {e.problem or e.context}") from None
    except yaml.YAMLError as e:
        raise ConfigError(f"{path}: no YAML: {str(e).splitlines()[0]}") from None
    except (ValueError, RecursionError) as e:
        # a date such as 2026-13-45; brackets within brackets; an alias of what it stands in
        raise ConfigError(f"{path}: no YAML: {e}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: a mapping of settings is expected, not {type(value).__name__}")
    for override in overrides:
        _override(value, override)
    try:
        return model.model_validate(value)
    except ValidationError as e:
        raise ConfigError(_first_problem(path, root, e)) from None


def _refuse_repeated_keys(path: Path, node: Any) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ConfigError(f"{path}:{key.start_mark.line + 1}: {key.value!r} stands here twice")
            seen.add(key.value)
            _refuse_repeated_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated_keys(path, value)


def _override(settings: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(f"{override}: overrides are written key=value, such as steps.cold_start.samples=2")
    *parents, last = name.split(".")
    place: Any = settings
    for part in parents:
        place = _child(place, part, name)
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"{override}: {text!r} is no YAML value") from None
    if isinstance(place, list):
        _child(place, last, name)
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise ConfigError(f"{override}: {'.'.join(parents)} holds no settings")


def _child(place: Any, part: str, name: str) -> Any:
    if isinstance(place, dict):
        if part not in place:
            raise ConfigError(f"{name}: there is no {part!r} (there are: {', '.join(map(str, place))})")
        return place[part]
    if isinstance(place, list) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    raise ConfigError(f"{name}: there is no {part!r}")


def _first_problem(path: Path, root: Any, error: ValidationError) -> str:
    problems = error.errors()
    first = problems[0]
    where = [p for p in first["loc"] if not isinstance(p, str) or not p.startswith("function-")]
    line, name = _locate(root, where)
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    if first["type"] == "extra_forbidden":
        message = "is no setting here; docs/recipes.md lists them"
    elif first["type"] == "missing":
        message = "is missing"
    elif first["type"] == "value_error":
        name = name if len(where) > 1 else ""
    else:
        message = f"is {given!r}: {message[0].lower()}{message[1:]}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    separator = ": " if first["type"] == "value_error" else " "
    return f"{path}:{line}: {name + separator if name else ''}{message}{more}"


def _locate(root: Any, where: list[Any]) -> tuple[int, str]:
    """The line of the deepest part of `where` that stands in the file, and its dotted name."""
    node, line, names = root, root.start_mark.line + 1, []
    for part in where:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(part)]
            if found:
                key, node = found[0]
                line = key.start_mark.line + 1
                names.append(str(part))
            elif part == where[-1]:
                names.append(str(part))
            # else a tag that pydantic puts in for the kind of a step or source: nothing in the file
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
            names.append(str(part))
        elif part == where[-1] and isinstance(part, str):
            names.append(part)
    return line, ".".join(names)
