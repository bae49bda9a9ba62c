"""Rows of data sets that the library `datasets` reads: from the hub, or from a folder in its formats."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataengine.sources.rows import Row
from schemas.errors import ConfigError, InputError
from schemas.recipe import DatasetsSource

# What `save_to_disk` leaves in a folder: of one split, and of several.
_SAVED = ("state.json", "dataset_dict.json")


def rows_of(source: DatasetsSource) -> Iterator[Row]:
    """The rows of one split, in order; a row's place is `name:split:number`, from 0 on as the hub shows it.

    Raises ConfigError without the library, InputError for what it cannot read.
    """
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            f"{source.path}: data sets are read by a library: pip install 'dataengine[datasets]'"
        ) from None
    try:
        with _quiet(datasets):
            split = _split(datasets, source)
        (name,) = source.names
        for number, value in enumerate(split):
            yield Row(f"{name}:{source.split}:{number}", dict(value))
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError, KeyError, TypeError) as e:
        # The hub's client raises OSErrors; the rest is the library on files that are not what it takes them for.
        said = " ".join(str(e).split()) or type(e).__name__
        config = f" ({source.config})" if source.config else ""
        raise InputError(f"{source.path}{config}: {said[:300]}") from None


def _split(datasets: Any, source: DatasetsSource) -> Any:
    folder = Path(source.path).expanduser()
    if any((folder / name).is_file() for name in _SAVED):
        saved = datasets.load_from_disk(str(folder))
        if not isinstance(saved, datasets.DatasetDict):
            return saved
        if source.split not in saved:
            raise ValueError(f"there is no split {source.split!r} (there are: {', '.join(saved)})")
        return saved[source.split]
    path = str(folder) if folder.is_dir() else source.path
    return datasets.load_dataset(path, source.config, split=source.split, revision=source.revision)


@contextlib.contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """No bars of the library's own while it works."""
    if datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()
