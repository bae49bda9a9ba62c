"""Serves the apps in the browser: the dashboard and the review app, each in a process of its own."""

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from dataengine.app_identity import IdentitySettings, identity_settings, is_local, secrets_files
from dataengine.cli_common import say
from dataengine.processes import die_with_parent
from dataengine.review_queues import load_queues
from schemas.errors import ConfigError, UserError
from warehouse.interrupts import interruptible
from warehouse.store import Warehouse

DASHBOARD_PORT, REVIEW_PORT = 8501, 8502
_TICK = 0.5
# The server ends its sessions first; what was answered is on disk either way.
_STOP = 10.0
# The rest of Streamlit's options are as its users have them in their config files and environment.
_OPTIONS = {
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "client.toolbarMode": "viewer",
    "logger.hideWelcomeMessage": "true",
    "logger.level": "warning",
    # A string that stands by itself in a page is no output.
    "runner.magicEnabled": "false",
    # A full collection after each run of a page would hold up all others for a tenth of a second.
    "runner.postScriptGC": "false",
    "server.enableAgentApi": "false",
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "server.showEmailPrompt": "false",
}


def open_dashboard(
    warehouse: Path,
    *,
    address: str = "localhost",
    port: int = DASHBOARD_PORT,
    user: str | None = None,
    access: Path | None = None,
    secrets: Path | None = None,
) -> int:
    """Serves the dashboard until it is stopped; its exit code. Raises UserError where it cannot be started."""
    path = Warehouse.open(warehouse).path
    return _serve("dashboards.app", "dashboard", [str(path)], address, port, user, access, secrets)


def open_review(
    warehouse: Path,
    *,
    queues: Iterable[Path] = (),
    address: str = "localhost",
    port: int = REVIEW_PORT,
    user: str | None = None,
    access: Path | None = None,
    secrets: Path | None = None,
    tick: Callable[[], object] | None = None,
    app: str = "dashboards.review.app",
) -> int:
    """Serves the review app until it is stopped; its exit code. Raises UserError where it cannot be started.

    The app is the module `app`, whose arguments are the warehouse's path and the files of `queues`. Every half second
    `tick` is called in this process, and once more when the app has stopped; a UserError of it is said, and no more.
    """
    path = Warehouse.open(warehouse).path
    files = [file.resolve() for file in queues]
    load_queues(path, files)
    return _serve(app, "review", [str(path), *map(str, files)], address, port, user, access, secrets, tick)


def _serve(
    app: str,
    command: str,
    arguments: list[str],
    address: str,
    port: int,
    user: str | None,
    access: Path | None,
    secrets: Path | None,
    tick: Callable[[], object] | None = None,
) -> int:
    if importlib.util.find_spec("streamlit") is None:
        raise ConfigError(f"{command} needs streamlit: pip install 'dataengine[dashboard]'")
    files = secrets_files() if secrets is None else [secrets]
    identity = identity_settings(address=address, access=access, user=user, secrets=files)
    _refuse_taken(address, port)
    script = importlib.util.find_spec(app)
    assert script is not None and script.origin is not None
    started = [*_streamlit(script.origin, address, port, identity, files), "--", *arguments]
    child = subprocess.Popen(
        started,
        env={**os.environ, **identity.environment},
        # Ctrl-C reaches this process alone, which then ends the other in good order.
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    whom = f" as {identity.user}, without sign-in" if identity.user else ""
    try:
        with _ended_by_sigterm(), interruptible():
            return _attend(child, address, port, f"{command}: {_url(address, port)}{whom} (Ctrl-C ends it)", tick)
    except KeyboardInterrupt:
        _stop(child)
        _called(tick, "")
        say(f"{command}: stopped")
        return 0
    finally:
        _stop(child)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM does as Ctrl-C, also where a shell has started this in the background and so keeps Ctrl-C from it."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _streamlit(script: str, address: str, port: int, identity: IdentitySettings, secrets: Iterable[Path]) -> list[str]:
    """The command that serves a script."""
    options = [(f"--{name}", value) for name, value in _OPTIONS.items()]
    options += [("--server.address", address), ("--server.port", str(port))]
    options += [("--server.headless", "false" if _has_display() else "true")]
    if identity.access.identity == "local":
        # A page elsewhere on the web may have its name lead here; it is refused by that name.
        options += [("--server.allowedHosts", host) for host in ("localhost", "127.0.0.1", "::1", address)]
    # Who comes back to a session is the one whose it was; the app itself looks at the header and the secret.
    trusted = {identity.access.header: "name"} if identity.access.identity == "header" else {}
    options += [("--server.trustedUserHeaders", json.dumps(trusted))]
    options += [("--secrets.files", str(file)) for file in secrets]
    # Without -P what lies in the working directory could take the place of modules.
    return [sys.executable, "-P", "-m", "streamlit", "run", script, *(part for option in options for part in option)]


def _has_display() -> bool:
    if sys.platform == "linux":
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return sys.stdout.isatty()


def _refuse_taken(address: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise ConfigError(f"--port {port}: a port is a number from 1 to 65535")
    try:
        family, kind, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except (OSError, UnicodeError) as e:
        said = e.strerror or str(e) if isinstance(e, OSError) else str(e)
        raise ConfigError(
            f"{address}:{port} cannot be served: {said.lower()}; give another --port, or --address"
        ) from None


def _url(address: str, port: int) -> str:
    host = address if is_local(address) else socket.gethostname() if address in ("0.0.0.0", "::") else address
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _attend(
    child: "subprocess.Popen[bytes]", address: str, port: int, ready: str, tick: Callable[[], object] | None
) -> int:
    """Says that the app is there once it is, calls `tick` as long as it runs, and returns its exit code."""
    told, said = False, ""
    while True:
        try:
            return _exit_code(child.wait(_TICK if told else _TICK / 5))
        except subprocess.TimeoutExpired:
            pass
        if not told and _answers(address, port):
            told = True
            say(ready)
        said = _called(tick, said)


def _called(tick: Callable[[], object] | None, said: str) -> str:
    """Calls `tick`; what it fails with is said where it is another than before, and returned."""
    try:
        if tick is not None:
            tick()
    except UserError as e:
        now = f"{type(e).__name__}: {e}"
        if now != said:
            say(now, err=True)
        return now
    return ""


def _answers(address: str, port: int) -> bool:
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    connection = http.client.HTTPConnection(reached, port, timeout=1)
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _exit_code(code: int) -> int:
    if code:
        say(f"the app ended with exit code {code}; what was answered is kept: start it again", err=True)
    return 1 if code else 0


def _stop(child: "subprocess.Popen[bytes]") -> None:
    """Ends the app; whoever is impatient and asks twice ends it at once."""
    if child.poll() is not None:
        return
    try:
        child.terminate()
        child.wait(_STOP)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.kill()
        child.wait()
