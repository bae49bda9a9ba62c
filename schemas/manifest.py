"""What a snapshot says of itself."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.mix import RowKind

#: Counts the rules of the logical hash: docs/mixes.md has the newest.
HASH_RULES = 2


class SnapshotFile(BaseModel):
    """One data file of a snapshot."""

    model_config = ConfigDict(extra="forbid")
    path: str = Field(description="relative to the snapshot's folder")
    rows: int
    bytes: int
    sha256: str


class BenchmarkCheck(BaseModel):
    """What holding a mix against one benchmark came to."""

    model_config = ConfigDict(extra="forbid")
    checked: int = Field(description="candidates that were held against it, all that were taken among them")
    contaminated: int = Field(description="those of them that were left out, since they hold an item of it")
    versions: list[str] = Field(description="the versions of the check contamination that say so")


class TemplateCheck(BaseModel):
    """What the chat template that a mix names makes of the rows: all survive it. Counts are in tokens."""

    model_config = ConfigDict(extra="forbid")
    tokenizer: str = Field(description="its folder's name, and the start of the sha256 of its tokenizer.json")
    sha256: str = Field(description="of the chat template's text")
    tokens: int = Field(description="of all rows, with the token that ends each")
    loss_tokens: int = Field(description="those of them that are learnt")
    longest: int = Field(description="tokens of the longest row")
    max_length: int | None = Field(description="the most that a row may have")

    @property
    def text(self) -> str:
        """The tokens, in words."""
        most = "" if self.max_length is None else f" of {self.max_length:,} allowed"
        return f"{self.tokens:,} tokens, {self.loss_tokens:,} of them learnt, {self.longest:,} in the longest row{most}"


class Manifest(BaseModel):
    """`manifest.json`: written last, so its existence means that the snapshot is whole."""

    model_config = ConfigDict(extra="forbid")
    name: str
    version: int
    created_at: datetime
    logical_hash: str = Field(description="over the content, whatever the file layout: see docs/mixes.md")
    hash_rules: int = Field(
        default=1, description="which rules the hash follows; 1 are those of before they were counted"
    )
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
    decontamination: dict[str, BenchmarkCheck] = Field(
        default_factory=dict, description="by benchmark of `decontaminated`: every row taken was held against it"
    )
    chat_template: TemplateCheck | None = Field(default=None, description="where the mix names a `chat_template`")
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

    def promises(self, clean: Mapping[str, BenchmarkCheck], fits: TemplateCheck | None) -> bool:
        """Whether it says the same of its rows as this: clean of the same benchmarks, fit for the same template."""
        return self.decontamination.keys() == clean.keys() and self.chat_template == fits

    @property
    def about(self) -> str:
        """What the mix says of itself."""
        return str(self.mix.get("description") or "A snapshot made by dataengine.")
