"""Snapshots as dataset repositories of the Hugging Face hub: one commit each, with a tag that never moves."""

import json
import logging
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from schemas.errors import SnapshotError
from schemas.manifest import Manifest, SnapshotFile
from warehouse.export import export_snapshot
from warehouse.filing import SPLITS
from warehouse.hashing import sha256_of
from warehouse.hub_errors import hub_errors
from warehouse.snapshot import Snapshot

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# Seconds in which a server has to answer; a commit of many files takes it a while.
_PATIENCE = 300.0
# The hub's own file, which says what is large: it is no part of a version.
_KEPT = ".gitattributes"


class Export(BaseModel):
    """How the rows of a repository were exported."""

    model_config = ConfigDict(extra="forbid")
    format: str
    reasoning: str
    shard_rows: int | None


class PushedManifest(Manifest):
    """`manifest.json` of a repository: the snapshot's own, with the files as they lie there."""

    export: Export


@dataclass(frozen=True)
class Pushed:
    """Where a snapshot is: `commit` is the full hash; `new` is false where the tag held it already."""

    url: str
    tag: str
    commit: str
    new: bool
    private: bool
    deleted: int

    @property
    def said(self) -> str:
        """Where it is, and how it is loaded, on two lines."""
        gone = f", {self.deleted} files of before deleted" if self.deleted else ""
        seen = "private" if self.private else "public"
        repo = "/".join(self.url.split("/")[-2:])
        load = f'datasets.load_dataset("{repo}", revision="{self.tag}")'
        return f"{self.url} ({seen}), tag {self.tag}, commit {self.commit[:12]}{gone}\n{load}"


def push_snapshot(
    snapshot: Snapshot,
    repo: str,
    *,
    form: str = "messages",
    reasoning: str = "content",
    shard_rows: int | None = None,
    private: bool = True,
    branch: str = "main",
    tag: str | None = None,
) -> Pushed:
    """Makes the dataset repository `repo` (OWNER/REPO) hold exactly this snapshot, as `export_snapshot` writes it.

    All files come, and those of other versions go, in one commit on `branch`, which gets the tag `tag` (left out:
    `v<version>`). Where the tag holds the same already nothing is done. A repository that is not there is made, private
    unless `private` is false; one that is there keeps its visibility. The token is that of the environment or of the
    login of `huggingface_hub`.

    Raises SnapshotError when `huggingface_hub` or a token is missing, the tag holds something else, the repository is
    public and `private` is true, or the hub refuses or cannot be reached; then the repository is as it was.
    """
    manifest = snapshot.manifest
    tag = tag or f"v{manifest.version}"
    for name in (branch, tag):
        # Else the hub would refuse the tag when the commit is made.
        if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", name, re.ASCII) or ".." in name or name.endswith((".", ".lock")):
            raise SnapshotError(f"{name!r} is no name for a branch or a tag: take letters, digits and . _ - /")
    export = Export(format=form, reasoning=reasoning, shard_rows=shard_rows)
    api = _api(repo)
    with _quietly(), tempfile.TemporaryDirectory(prefix="dataengine-push-") as work:
        with hub_errors(api.endpoint, repo):
            there = _look(api, repo, branch, tag)
            if there and there.tagged:
                told = _manifest_at(api, repo, there.tagged, Path(work))
                _refuse_another(repo, tag, told, manifest, export)
                return Pushed(_url(api, repo), tag, there.tagged, new=False, private=there.private, deleted=0)
        _refuse_public(repo, there, private, manifest)
        files = export_snapshot(snapshot, form, Path(work) / "export", reasoning=reasoning, shard_rows=shard_rows)
        files.append(_write_manifest(manifest, export, files))
        with hub_errors(api.endpoint, repo):
            if there is None:
                api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
                there = _look(api, repo, branch, tag)
                assert there is not None
                _refuse_public(repo, there, private, manifest)
            commit, deleted = _commit(api, repo, branch, there.head, manifest, files)
        with hub_errors(api.endpoint, repo, f"the files are there as commit {commit[:12]}, but without the tag {tag}"):
            api.create_tag(repo, tag=tag, tag_message=_message(manifest), revision=commit, repo_type="dataset")
    return Pushed(_url(api, repo), tag, commit, new=True, private=there.private, deleted=deleted)


@dataclass(frozen=True)
class _There:
    """A repository as it is: commits that the branch and the tag stand for, None where there is none."""

    private: bool
    head: str | None
    tagged: str | None


def _api(repo: str) -> "HfApi":
    """A client with the user's token. Raises SnapshotError when there is none, or no owner in `repo`."""
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError:
        raise SnapshotError("pushing needs huggingface_hub: pip install 'dataengine[hub]'") from None
    if repo.count("/") != 1:
        raise SnapshotError(f"{repo}: a repository is called OWNER/REPO")
    with hub_errors("", repo):
        token = get_token()
    if not token:
        raise SnapshotError("there is no token: set HF_TOKEN to one that may write, or log in with `hf auth login`")
    return HfApi(token=token, library_name="dataengine")


@contextmanager
def _quietly() -> Iterator[None]:
    """Bars only where somebody looks, no log lines (they hold signed URLs), and an end to waiting."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    level, client = hub_logging.get_verbosity(), get_session()
    patience = client.timeout
    hub_logging.set_verbosity(logging.ERROR)
    client.timeout = _PATIENCE
    try:
        with nullcontext() if sys.stderr.isatty() else disable_progress_bars():
            yield
    finally:
        client.timeout = patience
        hub_logging.set_verbosity(level)


def _look(api: "HfApi", repo: str, branch: str, tag: str) -> _There | None:
    """What is there, None when nothing is."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.dataset_info(repo)
    except RepositoryNotFoundError as e:
        if e.response.status_code == 404:
            return None
        raise
    refs = api.list_repo_refs(repo, repo_type="dataset")
    branches = {ref.name: ref.target_commit for ref in refs.branches}
    if tag in branches:
        raise SnapshotError(f"{repo}: {tag} is a branch there; name another with --tag")
    tags = {ref.name: ref.target_commit for ref in refs.tags}
    return _There(private=bool(info.private), head=branches.get(branch), tagged=tags.get(tag))


def _manifest_at(api: "HfApi", repo: str, commit: str, work: Path) -> dict[str, Any]:
    """What `manifest.json` says there; empty where there is none of ours."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        file = api.hf_hub_download(
            repo, "manifest.json", repo_type="dataset", revision=commit, local_dir=work / "there"
        )
        told = json.loads(Path(file).read_bytes())
    except (RemoteEntryNotFoundError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _refuse_another(repo: str, tag: str, told: Mapping[str, Any], manifest: Manifest, export: Export) -> None:
    """Raises SnapshotError unless a manifest that was found is that of the same push."""
    found = f"{told.get('name')}@{told.get('version')}"
    way_out = "tags are not moved: name another with --tag, or another repository"
    if "logical_hash" not in told:
        raise SnapshotError(f"{repo}: the tag {tag} holds no snapshot; {way_out}")
    if (found, told["logical_hash"]) != (manifest.id, manifest.logical_hash):
        raise SnapshotError(
            f"{repo}: the tag {tag} holds {found} with hash {str(told['logical_hash'])[:12]}, not {manifest.id} with "
            f"{manifest.logical_hash[:12]}; {way_out}"
        )
    if told.get("export") != export.model_dump():
        raise SnapshotError(f"{repo}: the tag {tag} holds {found} as {_said(told.get('export'))}; {way_out}")


def _said(export: object) -> str:
    return " ".join(f"{name} {value}" for name, value in export.items()) if isinstance(export, dict) else str(export)


def _refuse_public(repo: str, there: _There | None, private: bool, manifest: Manifest) -> None:
    if there and private and not there.private:
        raise SnapshotError(f"{repo} is public: say --public to publish {manifest.id} there")


def _write_manifest(manifest: Manifest, export: Export, files: list[Path]) -> Path:
    """Lays `manifest.json` beside exported files, and into their sums."""
    folder = files[0].parent
    data = [file for file in files if file.name.startswith(tuple(f"{split}-" for split in SPLITS))]
    listed = [
        SnapshotFile(path=f.name, rows=_rows(f), bytes=f.stat().st_size, sha256=sha256_of(f)) for f in sorted(data)
    ]
    pushed = PushedManifest(**{**manifest.model_dump(), "files": listed}, export=export)
    path = folder / "manifest.json"
    path.write_text(pushed.model_dump_json(indent=2) + "\n", encoding="utf-8")
    sums = folder / "SHA256SUMS"
    lines = [*sums.read_text(encoding="utf-8").splitlines(), f"{sha256_of(path)}  {path.name}"]
    sums.write_text("".join(f"{line}\n" for line in sorted(lines, key=lambda line: line[64:])), encoding="utf-8")
    return path


def _rows(file: Path) -> int:
    if file.suffix == ".parquet":
        return int(pq.read_metadata(file).num_rows)
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def _commit(
    api: "HfApi", repo: str, branch: str, head: str | None, manifest: Manifest, files: list[Path]
) -> tuple[str, int]:
    """Makes the branch hold these files and no others; returns the commit's hash and how many files went.

    `upload_folder` would do in several commits what is many files: a reader could see half of it.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    if head is None:
        api.create_branch(repo, branch=branch, repo_type="dataset", exist_ok=True)
    names = {file.name for file in files} | {_KEPT}
    gone = [f for f in api.list_repo_files(repo, revision=head or branch, repo_type="dataset") if f not in names]
    added = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file) for file in sorted(files)]
    made = api.create_commit(
        repo,
        [*(CommitOperationDelete(path_in_repo=name, is_folder=False) for name in gone), *added],
        commit_message=_message(manifest),
        repo_type="dataset",
        revision=branch,
        parent_commit=head,
    )
    return made.oid, len(gone)


def _message(manifest: Manifest) -> str:
    return f"{manifest.id}: {manifest.rows:,} rows, logical hash {manifest.logical_hash}"


def _url(api: "HfApi", repo: str) -> str:
    return f"{api.endpoint}/datasets/{repo}"
