"""What a snapshot says of itself."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.mix import RowKind


class SnapshotFile(BaseModel):
    """One data file of a snapshot."""

    model_config = ConfigDict(extra="forbid")
    path: str = Field(description="relative to the snapshot's folder")
    rows: int
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """`manifest.json`: written last, so its existence means that the snapshot is whole."""

    model_config = ConfigDict(extra="forbid")
    name: str
    version: int
    created_at: datetime
    logical_hash: str = Field(description="over the content, whatever the file layout: see docs/mixes.md")
    mix: dict[str, Any] = Field(description="the mix as it was when the snapshot was made")
    systems: dict[str, str | None] = Field(
        default_factory=dict, description="the system prompt of each template that the mix names"
    )
    rows: int
    prompts: int
    counts: dict[str, dict[str, int]] = Field(
        description="rows by split, domain, ..., what each rule left out, and near-duplicate prompts"
    )
    tables: dict[str, int] = Field(description="the version of each warehouse table that was read")
    checks: dict[str, list[str]] = Field(description="the versions of each check that the mix relied on")
    code: dict[str, str] = Field(description="versions of this program and of the libraries that wrote the files")
    files: list[SnapshotFile]

    @property
    def id(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def rows_of(self) -> RowKind:
        """What its rows are; of samples, where it was made before there were others."""
        kind: RowKind = self.mix.get("rows", "samples")
        return kind

    @property
    def about(self) -> str:
        """What the mix says of itself."""
        return str(self.mix.get("description") or "A snapshot made by dataengine.")
