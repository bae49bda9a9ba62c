"""Croissant 1.1, the metadata of data sets for machine learning: files with their hashes, columns with their types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from schemas.manifest import Manifest

# The context that readers expect, whether its terms are used here or not.
_TERMS = (
    *(
        "arrayShape",
        "citeAs",
        "column",
        "containedIn",
        "equivalentProperty",
        "excludes",
        "extract",
        "field",
        "fileObject",
    ),
    *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator"),
    *("source", "subField", "transform"),
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}
_TYPES = {
    pa.bool_(): "sc:Boolean",
    pa.int32(): "cr:Int32",
    pa.int64(): "cr:Int64",
    pa.float32(): "cr:Float32",
    pa.float64(): "cr:Float64",
}
_ENCODINGS = {"parquet": "application/x-parquet", "jsonl": "application/jsonlines"}


@dataclass(frozen=True)
class DataFile:
    """A file of an export: its name, bytes, and hex sha256."""

    name: str
    bytes: int
    sha256: str


def croissant(
    manifest: Manifest,
    files: Mapping[str, Sequence[DataFile]],
    columns: pa.Schema,
    licences: Sequence[str],
) -> dict[str, Any]:
    """The metadata of an export as JSON-LD, its files by split.

    `url` and `creator`, which the specification asks for, are not known here and left out.
    """
    told: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": f"{manifest.name}-v{manifest.version}",
        "description": manifest.about,
        "version": f"{manifest.version}.0.0",
        "datePublished": f"{manifest.created_at:%Y-%m-%d}",
        "isLiveDataset": False,
    }
    if licences:
        told["license"] = list(licences)
    told["distribution"] = [part for split, made in files.items() for part in _files(split, made)]
    told["recordSet"] = [
        {
            "@type": "cr:RecordSet",
            "@id": split,
            "name": split,
            "field": [_field(split, c.name, c.name, c.type, []) for c in columns],
        }
        for split in files
    ]
    return told


def _files(split: str, made: Sequence[DataFile]) -> list[dict[str, Any]]:
    ending = made[0].name.rpartition(".")[2]
    objects: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject",
            "@id": file.name,
            "name": file.name,
            "contentUrl": file.name,
            "contentSize": f"{file.bytes} B",
            "encodingFormat": _ENCODINGS[ending],
            "sha256": file.sha256,
        }
        for file in made
    ]
    # Contained in nothing: the files lie beside this one.
    together = {
        "@type": "cr:FileSet",
        "@id": f"{split}-files",
        "name": f"{split}-files",
        "encodingFormat": _ENCODINGS[ending],
        "includes": f"{split}-*.{ending}",
    }
    return [*objects, together]


def _field(split: str, path: str, column: str, kind: pa.DataType, within: list[str]) -> dict[str, Any]:
    """A column, or a part of it: `within` are the keys that lead from the column to the part."""
    field: dict[str, Any] = {"@type": "cr:Field", "@id": f"{split}/{path}", "name": path}
    depth = 0
    while pa.types.is_list(kind):
        depth, kind = depth + 1, kind.value_type
    if depth:
        field |= {"isArray": True, "arrayShape": ",".join(["-1"] * depth)}
    if pa.types.is_struct(kind):
        parts = [_field(split, f"{path}/{p.name}", column, p.type, [*within, p.name]) for p in kind.fields]
        return field | {"subField": parts}
    source: dict[str, Any] = {"fileSet": {"@id": f"{split}-files"}, "extract": {"column": column}}
    if within:
        source["transform"] = {"jsonPath": ".".join(within)}
    return field | {"dataType": _TYPES.get(kind, "sc:Text"), "source": source}
