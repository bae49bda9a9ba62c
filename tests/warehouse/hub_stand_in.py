"""A stand-in of the Hugging Face hub: its HTTP API of dataset repositories, as far as `huggingface_hub` calls it.

Real HTTP on a local port, repositories in memory. It is not the hub: no Xet storage, no quotas, no pull requests.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

# What the hub's validation of cards admits, as its error message lists it.
_LICENCES = (
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m "
    "afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 "
    "cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 "
    "cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl "
    "gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr "
    "mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr "
    "deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 "
    "grok2-community gemma unknown other"
)
_SIZES = "n<1K 1K<n<10K 10K<n<100K 100K<n<1M 1M<n<10M 10M<n<100M 100M<n<1B 1B<n<10B 10B<n<100B 100B<n<1T n>1T other"
TASKS = {"text-generation", "text-classification", "question-answering", "text-ranking", "reinforcement-learning"}
LARGE = 10_000_000
WRITES, READS = "hf_mayWriteHere", "hf_mayReadHere"


def card_errors(text: str) -> list[str]:
    """What is wrong with the front matter of a card."""
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if not found:
        return ["empty or missing yaml metadata in repo card"]
    data = yaml.safe_load(found[1])

    def listed(name: str) -> list[Any]:
        value = data.get(name, [])
        return value if isinstance(value, list) else [value]

    licences, sizes = _LICENCES.split(), _SIZES.split()
    errors = [f'"license" must be one of the known, not {x!r}' for x in listed("license") if x not in licences]
    errors += [f'"license_name" {x!r}' for x in listed("license_name") if not re.fullmatch(r"[a-z0-9.-]+", str(x))]
    errors += [
        f'"language" must only contain lowercase characters, not {x!r}'
        for x in listed("language")
        if not (isinstance(x, str) and re.fullmatch("[a-z]{2,3}|code|multilingual", x))
    ]
    errors += [f'"size_categories" {x!r}' for x in listed("size_categories") if x not in sizes]
    errors += [f'"task_categories" {x!r}' for x in listed("task_categories") if x not in TASKS]
    errors += [f'"tags" {x!r}' for x in listed("tags") if not isinstance(x, str)]
    return errors


@dataclass(frozen=True)
class Blob:
    """A file of a commit; a large one is known by its sha256."""

    content: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def git_oid(self) -> str:
        said = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        stored = said.encode() if self.large else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.git_oid


@dataclass(frozen=True)
class Commit:
    """A commit with all of its files."""

    oid: str
    title: str
    parent: str | None
    files: dict[str, Blob]


@dataclass
class Repo:
    """A dataset repository."""

    name: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, title: str, files: dict[str, Blob]) -> Commit:
        parent = self.branches.get(branch)
        said = json.dumps([self.name, parent, title, {name: b.git_oid for name, b in files.items()}])
        made = Commit(hashlib.sha1(said.encode()).hexdigest(), title, parent, files)
        self.commits[made.oid] = made
        self.branches[branch] = made.oid
        return made

    def at(self, revision: str) -> Commit | None:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(oid)

    def state(self) -> tuple[dict[str, str], dict[str, str]]:
        """What a reader can see: branches and tags."""
        return dict(self.branches), dict(self.tags)


class Answer(Exception):
    """An answer of the server that is an error."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        self.status, self.message, self.code = status, message, code


# Given "METHOD /path" and how often it was asked before: a status to answer with, "drop", "hang", or None.
Fault = Callable[[str, int], int | str | None]


class HubStandIn:
    """The server; `asked` is what it was asked, `fault` what it shall fail at."""

    def __init__(self) -> None:
        self.tokens = {WRITES: True, READS: False}
        self.repos: dict[str, Repo] = {}
        self.uploaded: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.fault: Fault = lambda asked, before: None
        self.ended = threading.Event()
        self.lock = threading.Lock()
        stand_in = self

        class Handler(_Handler):
            hub = stand_in

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def make(self, name: str, private: bool = True) -> Repo:
        """A repository as the hub makes it: with the file that says what is large."""
        repo = self.repos[name] = Repo(name, private)
        repo.commit("main", "initial commit", {".gitattributes": Blob(b"*.parquet filter=lfs\n", large=False)})
        return repo


@contextmanager
def serving(patch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """A stand-in that `huggingface_hub` in this process takes for the hub, with a token that may write."""
    constants = pytest.importorskip("huggingface_hub.constants")
    server = HubStandIn()
    # The library read the environment when it was imported, maybe by another test.
    patch.setattr(constants, "ENDPOINT", server.url)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setenv("HF_TOKEN", WRITES)
    try:
        yield server
    finally:
        server.stop()


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        body = self._body()
        path = urlsplit(self.path).path
        asked = f"{self.command} {path}"
        fault = self.hub.fault(asked, self.hub.asked.count(asked))
        self.hub.asked.append(asked)
        if fault == "hang":
            self.hub.ended.wait(20)
        if fault in ("drop", "hang"):
            self.close_connection = True
            return
        try:
            if isinstance(fault, int):
                raise Answer(fault, "as the test wants it")
            with self.hub.lock:
                for method, pattern, answer in _ROUTES:
                    found = re.fullmatch(pattern, path)
                    if found and self.command in method:
                        answer(self, body, *(part and unquote(part) for part in found.groups()))
                        return
            raise Answer(404, f"the stand-in knows no {asked}")
        except Answer as e:
            headers = {"X-Error-Message": e.message} | ({"X-Error-Code": e.code} if e.code else {})
            self._send(json.dumps({"error": e.message}).encode(), e.status, headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), headers={"Content-Type": "application/json"})

    def _token(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        if token is not None and token not in self.hub.tokens:
            raise Answer(401, "Invalid credentials in Authorization header")
        return token

    def _writer(self) -> None:
        if not self.hub.tokens[self._token() or READS]:
            raise Answer(403, "you must use a write token")

    def _repo(self, name: str) -> Repo:
        token = self._token()
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and token is None):
            raise Answer(404 if token else 401, "Repository not found", "RepoNotFound")
        return repo

    def _at(self, repo: Repo, revision: str) -> Commit:
        commit = repo.at(revision)
        if commit is None:
            raise Answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def create(self, body: bytes) -> None:
        self._writer()
        asked = json.loads(body)
        assert asked["type"] == "dataset"
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repos:
            raise Answer(409, "You already created this dataset repo")
        self.hub.make(name, private=asked["visibility"] == "private")
        self._json({"url": f"{self.hub.url}/datasets/{name}"})

    def validate(self, body: bytes) -> None:
        asked = json.loads(body)
        assert asked["repoType"] == "dataset"
        errors = [{"message": e} for e in card_errors(asked["content"])]
        self._send(json.dumps({"errors": errors, "warnings": []}).encode(), 400 if errors else 200)

    def info(self, body: bytes, name: str, revision: str = "main") -> None:
        repo = self._repo(name)
        commit = self._at(repo, revision)
        files = [{"rfilename": path} for path in sorted(commit.files)]
        self._json({"id": name, "sha": commit.oid, "private": repo.private, "siblings": files, "tags": []})

    def refs(self, body: bytes, name: str) -> None:
        repo = self._repo(name)
        told = {
            kind: [{"name": n, "ref": f"refs/{where}/{n}", "targetCommit": oid} for n, oid in found.items()]
            for kind, where, found in (("branches", "heads", repo.branches), ("tags", "tags", repo.tags))
        }
        self._json({**told, "converts": []})

    def branch(self, body: bytes, name: str, branch: str) -> None:
        self._writer()
        repo = self._repo(name)
        if branch in repo.branches:
            raise Answer(409, "Reference already exists")
        repo.branches[branch] = self._at(repo, json.loads(body).get("startingPoint", "main")).oid
        self._json({})

    def tag(self, body: bytes, name: str, revision: str) -> None:
        self._writer()
        repo = self._repo(name)
        tag = json.loads(body)["tag"]
        if tag in repo.tags:
            raise Answer(409, "Tag reference exists already")
        repo.tags[tag] = self._at(repo, revision).oid
        self._json({})

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        self._writer()
        files = self._at(self._repo(name), revision).files
        self._json(
            {
                "files": [
                    {
                        "path": f["path"],
                        "uploadMode": "lfs" if f["path"].endswith(".parquet") or f["size"] > LARGE else "regular",
                        "shouldIgnore": False,
                        "oid": files[f["path"]].etag if f["path"] in files else None,
                    }
                    for f in json.loads(body)["files"]
                ]
            }
        )

    def batch(self, body: bytes, name: str) -> None:
        self._writer()
        self._repo(name)
        objects = []
        for o in json.loads(body)["objects"]:
            to = {"upload": {"href": f"{self.hub.url}/store/{o['oid']}"}, "verify": {"href": f"{self.hub.url}/verify"}}
            objects.append({**o, **({} if o["oid"] in self.hub.uploaded else {"actions": to})})
        self._json({"transfer": "basic", "objects": objects})

    def store(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Answer(422, "the content is not what was announced")
        self.hub.uploaded[oid] = body
        self._json({})

    def verify(self, body: bytes) -> None:
        asked = json.loads(body)
        if len(self.hub.uploaded.get(asked["oid"], b"")) != asked["size"]:
            raise Answer(404, "not uploaded")
        self._json({})

    def commit(self, body: bytes, name: str, revision: str) -> None:
        self._writer()
        repo = self._repo(name)
        if revision not in repo.branches:
            raise Answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        files = dict(self._at(repo, revision).files)
        header, *operations = [json.loads(line) for line in body.splitlines()]
        assert header["key"] == "header"
        if header["value"].get("parentCommit", repo.branches[revision]) != repo.branches[revision]:
            raise Answer(412, "A commit has happened since. Please refresh and try again.")
        for operation in operations:
            what, value = operation["key"], operation["value"]
            path = value["path"]
            if what == "file":
                files[path] = Blob(base64.b64decode(value["content"]), large=False)
            elif what == "lfsFile":
                if value["oid"] not in self.hub.uploaded:
                    raise Answer(400, f"{path} was not uploaded")
                files[path] = Blob(self.hub.uploaded[value["oid"]], large=True)
            else:
                assert what == "deletedFile"
                if files.pop(path, None) is None:
                    raise Answer(404, "A file with this name doesn't exist", "EntryNotFound")
        made = repo.commit(revision, header["value"]["summary"], files)
        self._json({"success": True, "commitOid": made.oid, "commitUrl": f"{self.hub.url}/{name}/commit/{made.oid}"})

    def tree(self, body: bytes, name: str, revision: str, within: str | None = None) -> None:
        files = self._at(self._repo(name), revision).files
        assert not within, "these repositories have no folders"
        self._json([_entry(path, files[path]) for path in sorted(files)])

    def paths(self, body: bytes, name: str, revision: str) -> None:
        files = self._at(self._repo(name), revision).files
        if self.headers["Content-Type"].startswith("application/json"):
            wanted = json.loads(body)["paths"]
        else:
            wanted = parse_qs(body.decode())["paths"]
        self._json([_entry(path, files[path]) for path in wanted if path in files])

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        commit = self._at(self._repo(name), revision)
        blob = commit.files.get(path)
        if blob is None:
            raise Answer(404, "Entry not found", "EntryNotFound")
        content = blob.content
        headers = {"ETag": f'"{blob.etag}"', "X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        status = 200
        if ranged := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(ranged[1]), min(int(ranged[2] or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            content, status = content[start : end + 1], 206
        self._send(content, status, headers)


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(blob.content), "oid": blob.git_oid}
    if blob.large:
        entry["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": 134}
    return entry


_API = r"/api/datasets/([\w.-]+/[\w.-]+)"
_ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("GET", _API, _Handler.info),
    ("GET", f"{_API}/revision/(.+)", _Handler.info),
    ("GET", f"{_API}/refs", _Handler.refs),
    ("POST", f"{_API}/branch/(.+)", _Handler.branch),
    ("POST", f"{_API}/tag/(.+)", _Handler.tag),
    ("POST", f"{_API}/preupload/(.+)", _Handler.preupload),
    ("POST", f"{_API}/commit/(.+)", _Handler.commit),
    ("GET", f"{_API}/tree/([^/]+)(/.*)?", _Handler.tree),
    ("POST", f"{_API}/paths-info/(.+)", _Handler.paths),
    ("POST", r"/datasets/([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", "/store/([0-9a-f]{64})", _Handler.store),
    ("POST", "/verify", _Handler.verify),
    ("GET HEAD", r"/datasets/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", _Handler.resolve),
]
