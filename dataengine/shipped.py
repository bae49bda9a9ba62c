"""Recipes and mixes by shipped name or by path."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from dataengine.prompting import system_prompt
from schemas.errors import ConfigError
from schemas.mix import AnyMix, MixFile
from schemas.recipe import Recipe
from schemas.yaml_file import load_yaml

M = TypeVar("M", bound=BaseModel)


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe of that shipped name or path, with `key=value` overrides. Raises ConfigError."""
    return _load(name, "recipes", Recipe, overrides)


def load_mix(name: str, overrides: Iterable[str] = ()) -> AnyMix:
    """The mix of that shipped name or path, with `key=value` overrides. Raises ConfigError."""
    return _load(name, "mixes", MixFile, overrides).root


def systems_of(mix: AnyMix) -> dict[str, str | None]:
    """The system prompt of every template that the mix names. Raises ConfigError for one that makes no conversation."""
    for source in mix.sources:
        if source.template == "r1_zero":
            raise ConfigError(f"mix {mix.mix}: the template r1_zero is for sampling base models; use think or plain")
    return {s.template: system_prompt(s.template) for s in mix.sources}


def shipped(kind: str) -> dict[str, Path]:
    """The shipped files of a kind (`recipes`, `mixes`) by name."""
    return {p.stem: p for p in sorted((Path(__file__).parent / kind).glob("*.yaml"))}


def _load(name: str, kind: str, model: type[M], overrides: Iterable[str]) -> M:
    known = shipped(kind)

    def find(named: str, within: Path | None) -> Path:
        if named in known:
            return known[named]
        path = Path(named).expanduser()
        if within is not None:
            path = within.parent / path
        where = f"{within}: include: " if within else ""
        try:
            there = path.exists()
        except OSError as e:
            raise ConfigError(f"{where}{named}: {e.strerror}") from None
        if not there and path.suffix not in (".yaml", ".yml"):
            raise ConfigError(f"{where}{named}: no file, and no shipped name; shipped {kind}: {', '.join(known)}")
        return path

    return load_yaml(find(name, None), model, overrides, find if model is Recipe else None)
