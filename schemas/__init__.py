"""What a row, a recipe, a mix and a manifest are: one definition each, from which the rest is derived."""

from schemas.errors import ConfigError, UserError
from schemas.keys import canonical_json, key
from schemas.manifest import Manifest, SnapshotFile
from schemas.mix import Mix, MixSource
from schemas.recipe import Recipe
from schemas.records import (
    RECORDS,
    Message,
    Metric,
    Migration,
    Outcome,
    Prompt,
    Record,
    Run,
    Stage,
    Trajectory,
    Verdict,
)

__all__ = [
    "RECORDS",
    "ConfigError",
    "Manifest",
    "Message",
    "Metric",
    "Migration",
    "Mix",
    "MixSource",
    "Outcome",
    "Prompt",
    "Recipe",
    "Record",
    "Run",
    "SnapshotFile",
    "Stage",
    "Trajectory",
    "UserError",
    "Verdict",
    "canonical_json",
    "key",
]
