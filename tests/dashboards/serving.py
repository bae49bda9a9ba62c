"""Apps in processes of their own, as the commands start them, and a visitor that speaks with them without a browser."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parent.parent.parent
_START = """
import sys
from pathlib import Path
from dataengine.apps import open_review
path, port, address, user, access, secrets, app = sys.argv[1:]
sys.exit(open_review(
    Path(path), port=int(port), address=address, user=user or None, access=Path(access) if access else None,
    secrets=Path(secrets) if secrets else None, app=app, tick=lambda: None,
))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Served:
    """An app that runs; `said` is the line with which it told that it is there."""

    port: int
    process: "subprocess.Popen[str]"
    said: str

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Its exit code, and the rest of what it said."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=30)
        return self.process.returncode, rest


@contextmanager
def served(
    warehouse: Path,
    *,
    app: str = "tests.dashboards.identity_page",
    user: str = "",
    access: Path | str = "",
    secrets: Path | str = "",
    address: str = "localhost",
    port: int | None = None,
    **environment: str,
) -> Iterator[Served]:
    port = port or free_port()
    arguments = [str(warehouse), str(port), address, user, str(access), str(secrets), app]
    process = subprocess.Popen(
        [sys.executable, "-c", _START, *arguments],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("review: http"), said + process.stdout.read()
        yield Served(port, process, said)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


@dataclass
class Visit:
    """What one run of a page showed."""

    texts: list[str]
    errors: list[str]
    warnings: list[str]
    buttons: list[str]
    session: str


def visit(
    port: int, headers: list[tuple[str, str]] | None = None, *, session: str = "", host: str = "localhost"
) -> Visit:
    """Opens a page as a browser does that takes `host` for its name, with these headers, and reads it to its end."""
    found = Visit([], [], [], [], "")
    protocols = ["streamlit", "token", session] if session else ["streamlit", "token"]
    with connect(
        f"ws://{host}:{port}/_stcore/stream",
        sock=socket.create_connection(("localhost", port)),
        subprotocols=protocols,  # type: ignore[arg-type]
        additional_headers=headers,
        max_size=None,
        proxy=None,
    ) as connection:
        asked = BackMsg()
        asked.rerun_script.query_string = ""
        connection.send(asked.SerializeToString())
        while True:
            told = ForwardMsg()
            data = connection.recv(timeout=60)
            assert isinstance(data, bytes)
            told.ParseFromString(data)
            kind = told.WhichOneof("type")
            if kind == "new_session":
                found.session = told.new_session.initialize.session_id
            elif kind == "delta" and told.delta.WhichOneof("type") == "new_element":
                _read(told.delta.new_element, found)
            elif kind == "script_finished":
                return found


def _read(element: object, found: Visit) -> None:
    kind = element.WhichOneof("type")  # type: ignore[attr-defined]
    value = getattr(element, kind)
    if kind == "text":
        found.texts.append(value.body)
    elif kind == "alert":
        (found.errors if value.format == value.ERROR else found.warnings).append(value.body)
    elif kind == "button":
        found.buttons.append(value.label)
    elif kind == "exception":
        raise AssertionError(f"{value.type}: {value.message}")
