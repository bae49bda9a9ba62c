"""YAML files read into the models, with errors that name file, line and remedy."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, RootModel, ValidationError
from pydantic.fields import FieldInfo

from schemas.errors import ConfigError
from schemas.yaml_include import Find, included
from schemas.yaml_traps import hint, meant, refuse_odd_numbers

M = TypeVar("M", bound=BaseModel)
_HERE = "${here}"


def load_yaml(path: Path, model: type[M], overrides: Iterable[str] = (), find: Find | None = None) -> M:
    """The file as a `model`, after `key.key=value` overrides (values are YAML scalars or flow collections).

    With `find`, it may include others, which that finds by their names: schemas/yaml_include.py. Raises ConfigError,
    `file:line: what is wrong`, for a file that is missing, no YAML, or not what the model wants.
    """
    root = _settings_of(path, _text_of(path))
    if find is not None:
        root = included(path, root, find, lambda other: _settings_of(other, _text_of(other)))
    return _model_of(path, root, model, overrides)


def load_front_matter(path: Path, model: type[M]) -> tuple[M, str]:
    """The settings between the two lines `---` at the start of a text file as a `model`, and the text below them.

    Raises ConfigError as `load_yaml`, and for a file without such settings or without text.
    """
    opened, marked, rest = _text_of(path).partition("---\n")
    settings, ended, text = rest.partition("\n---\n")
    if opened or not marked or not ended:
        raise ConfigError(f"{path}:1: settings are missing; write them between two lines of --- before the text")
    if not text.strip():
        raise ConfigError(f"{path}: no text below the settings")
    # The line of the mark, so that the lines that errors name are those of the file.
    return _model_of(path, _settings_of(path, f"\n{settings}"), model), text.strip()


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror.lower() if e.strerror else e}") from None
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: not UTF-8 at byte {e.start}") from None


def _settings_of(path: Path, text: str) -> yaml.MappingNode:
    """The nodes of a YAML text, whose marks name the file."""
    loader = yaml.SafeLoader(text)
    loader.name = str(path)
    try:
        root = loader.get_single_node()
        _refuse_repeated_keys(path, root)
        refuse_odd_numbers(root)
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise ConfigError(f"{path}:{line}: no YAML: {e.problem or e.context}") from None
    except yaml.YAMLError as e:
        raise ConfigError(f"{path}: no YAML: {str(e).splitlines()[0]}") from None
    except (ValueError, RecursionError) as e:
        # brackets within brackets; an alias of what it stands in
        raise ConfigError(f"{path}: no YAML: {e}") from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}: holds no settings; write one `setting: value` per line")
    _fill_here(root, str(path.parent))
    return root


def _fill_here(node: yaml.Node, folder: str) -> None:
    """Paths that start with ${here} are those beside the file that they stand in."""
    if isinstance(node, yaml.ScalarNode) and node.value.startswith(_HERE):
        node.value = folder + node.value.removeprefix(_HERE)
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        for part in child if isinstance(child, tuple) else (child,):
            _fill_here(part, folder)


def _value_of(path: Path, root: yaml.MappingNode) -> dict[str, Any]:
    try:
        value: dict[str, Any] = yaml.SafeLoader("").construct_document(root)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or root.start_mark
        raise ConfigError(f"{mark.name}:{mark.line + 1}: no YAML: {e.problem or e.context}") from None
    except (ValueError, RecursionError) as e:
        # a date such as 2026-13-45
        raise ConfigError(f"{path}: no YAML: {e}") from None
    return value


def _model_of(path: Path, root: yaml.MappingNode, model: type[M], overrides: Iterable[str] = ()) -> M:
    value = _value_of(path, root)
    replaced = {_override(value, override): override for override in overrides}
    try:
        return model.model_validate(value)
    except ValidationError as e:
        raise ConfigError(_first_problem(path, root, model, replaced, e)) from None


def _refuse_repeated_keys(path: Path, node: Any) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused when the value is made of the nodes
            if key.value in seen:
                raise ConfigError(f"{path}:{key.start_mark.line + 1}: {key.value!r} stands here twice")
            seen.add(key.value)
            _refuse_repeated_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated_keys(path, value)


def _override(settings: dict[str, Any], override: str) -> str:
    """Puts the value of `name=value` in its place and returns the name."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(f"{override}: overrides are written key=value, such as steps.cold_start.samples=2")
    *parents, last = name.split(".")
    place: Any = settings
    for part in parents:
        place = _child(place, part, name)
    try:
        refuse_odd_numbers(yaml.compose(text, yaml.SafeLoader), override)
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"{override}: {text!r} is no YAML value") from None
    if isinstance(place, list):
        _child(place, last, name)
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise ConfigError(f"{override}: {'.'.join(parents)} holds no settings")
    return name


def _child(place: Any, part: str, name: str) -> Any:
    if isinstance(place, dict):
        if part not in place:
            raise ConfigError(f"{name}: there is no {part!r} (there are: {', '.join(map(str, place))})")
        return place[part]
    if isinstance(place, list) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    raise ConfigError(f"{name}: there is no {part!r}")


def _first_problem(
    path: Path, root: Any, model: type[BaseModel], replaced: Mapping[str, str], error: ValidationError
) -> str:
    """One line for the first thing that is wrong: where, what, what it should be; and how many more there are."""
    problems = error.errors()
    first = problems[0]
    where = [p for p in first["loc"] if not isinstance(p, str) or not p.startswith("function-")]
    says_all = first["type"] in ("value_error", "stated")
    mark, name = _locate(root, where, missing=not says_all)
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    owner, field = _definition(model, where)
    if first["type"] == "extra_forbidden":
        known = list(owner.model_fields) if owner else []
        listed = f"there are: {', '.join(known)}" if known else "docs/recipes.md lists them"
        message = f"is no setting here; {meant(where[-1], known)}{listed}"
    elif first["type"] == "missing":
        message = "is missing" + (f"; it is: {field.description}" if field and field.description else "")
    elif says_all:
        name = name if len(where) > 1 else ""
    else:
        message = f"is {given!r}: {message[0].lower()}{message[1:]}{hint(first['type'], given)}"
        message += f" ({field.description})" if field and field.description else ""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    separator = ": " if says_all else " "
    override = next((text for o, text in replaced.items() if name == o or name.startswith(f"{o}.")), None)
    place = f"{mark.name}:{mark.line + 1}" if override is None else f"{path}: {override}"
    return f"{place}: {name + separator if name else ''}{message}{more}"


def _definition(model: type[BaseModel], where: list[Any]) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The model in which the last part of `where` is a field, and that field; None for what cannot be followed."""
    annotation: Any = model
    owner: type[BaseModel] | None = None
    field: FieldInfo | None = None
    for part in where:
        owner = field = None
        annotation = _plain(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            owner, field = annotation, annotation.model_fields.get(str(part))
            annotation = field.annotation if field else None
        elif get_origin(annotation) in (dict, list):
            annotation = get_args(annotation)[-1]
        else:
            # A part that pydantic puts in: which of a union's models it took, by that model's tag or name.
            members = map(_plain, get_args(annotation))
            annotation = next((m for m in members if part in [m.__name__, *_tags(m)]), None)
    return owner, field


def _plain(annotation: Any) -> Any:
    """An annotation without what is said of it or None; in place of a model of one unnamed part that part's."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        return _plain(annotation.model_fields["root"].annotation)
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        return _plain(members[0]) if len(members) == 1 else annotation
    return annotation


def _tags(model: Any) -> list[Any]:
    fields = getattr(model, "model_fields", {})
    return [tag for f in fields.values() if get_origin(f.annotation) is Literal for tag in get_args(f.annotation)]


def _any_named(node: yaml.MappingNode, parts: list[Any]) -> bool:
    return any(k.value == str(part) for k, _ in node.value for part in parts)


def _locate(root: yaml.MappingNode, where: list[Any], *, missing: bool) -> tuple[yaml.Mark, str]:
    """Where the deepest part of `where` that is written stands, and its dotted name.

    The last part may be what is `missing` there; else one that does not stand there is a tag of pydantic's.
    """
    node: yaml.Node = root
    mark, names = root.start_mark, []
    for place, part in enumerate(where, start=1):
        if isinstance(node, yaml.MappingNode):
            # The last is what counts: before it may stand what was merged in.
            found = [(k, v) for k, v in node.value if k.value == str(part)][-1:]
            # A kind of step may be called as one of its settings is: a setting that follows is the kind's.
            kind = found and isinstance(found[0][1], yaml.ScalarNode) and _any_named(node, where[place:])
            if found and not kind:
                key, node = found[0]
                mark = key.start_mark
                names.append(str(part))
            elif missing and part == where[-1]:
                names.append(str(part))
            # else a tag that pydantic puts in for the kind of a step or source: nothing in the file
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.start_mark
            names.append(str(part))
        elif part == where[-1] and isinstance(part, str):
            names.append(part)
    return mark, ".".join(names)
