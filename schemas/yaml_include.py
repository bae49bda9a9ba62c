"""Settings files that build on others: `include` names them, and what a file says itself goes over what they say."""

from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from schemas.errors import ConfigError

#: What a name in `include` stands for, given the file that it stands in. Raises ConfigError for a name of nothing.
Find = Callable[[str, Path], Path]

# Whoever includes a file gives its own.
_OWN = ("recipe", "description", "include")
# A mapping that says what kind of thing it is does not build on another of its name, which may be of another kind.
_WHOLE = ("kind", "source")


def included(
    path: Path, root: yaml.MappingNode, find: Find, read: Callable[[Path], yaml.MappingNode]
) -> yaml.MappingNode:
    """The settings of the file at `path`, `root`, on top of those of the files that it includes.

    Files come in the order in which they are named, each once, though several may include it. A later setting takes the
    place of an earlier one of its name, mapping by mapping; a mapping with a `kind` or `source` takes it whole. `read`
    gives the settings of a file. Raises ConfigError for a name of nothing, and for a file that includes itself.
    """
    return _included(path, root, find, read, {path.resolve()}, (path.resolve(),))


def _included(
    path: Path,
    root: yaml.MappingNode,
    find: Find,
    read: Callable[[Path], yaml.MappingNode],
    seen: set[Path],
    within: Sequence[Path],
) -> yaml.MappingNode:
    below = yaml.MappingNode(root.tag, [], root.start_mark, root.end_mark)
    for name in _names(path, root):
        other = find(name, path)
        if other.resolve() in within:
            raise ConfigError(f"{path}: includes {name}, which includes it")
        if other.resolve() not in seen:
            seen.add(other.resolve())
            found = _included(other, read(other), find, read, seen, (*within, other.resolve()))
            below = _merged(below, _without(found, _OWN))
    return _merged(below, _without(root, ("include",)))


def _names(path: Path, root: yaml.MappingNode) -> list[str]:
    for key, value in root.value:
        if key.value == "include":
            items = value.value if isinstance(value, yaml.SequenceNode) else [value]
            if not all(isinstance(item, yaml.ScalarNode) and item.value for item in items):
                raise ConfigError(f"{path}:{key.start_mark.line + 1}: include is a list of names or paths")
            return [item.value for item in items]
    return []


def _without(node: yaml.MappingNode, names: Sequence[str]) -> yaml.MappingNode:
    kept = [(key, value) for key, value in node.value if key.value not in names]
    return yaml.MappingNode(node.tag, kept, node.start_mark, node.end_mark)


def _merged(below: yaml.MappingNode, above: yaml.MappingNode) -> yaml.MappingNode:
    """A new mapping; both stay as they are, since others may refer to them."""
    for node in (below, above):
        # What `<<` merges in is spelled out, as it is when the value is made.
        yaml.SafeLoader("").flatten_mapping(node)
    found = {key.value: (key, value) for key, value in below.value}
    for key, value in above.value:
        under = found.get(key.value, (None, None))[1]
        if isinstance(under, yaml.MappingNode) and isinstance(value, yaml.MappingNode) and not _whole(value):
            value = _merged(under, value)
        found[key.value] = (key, value)
    return yaml.MappingNode(above.tag, list(found.values()), above.start_mark, above.end_mark)


def _whole(node: yaml.MappingNode) -> bool:
    return any(key.value in _WHOLE for key, _ in node.value)
