"""What goes wrong with the Hugging Face hub, as one line with the way out."""

from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import SnapshotError

_AGAIN = "push again: it is one commit, which is there whole or not at all"
_TOKEN = "set HF_TOKEN to one that may write, or log in with `hf auth login`"


@contextmanager
def hub_errors(endpoint: str, repo: str, done: str = "") -> Iterator[None]:
    """Turns what `huggingface_hub` raises into SnapshotError; `done` says what had been done before."""
    import httpx2
    from huggingface_hub.errors import OIDCError

    try:
        yield
    except (httpx2.HTTPError, OIDCError, OSError, RuntimeError, ValueError) as e:
        way_out = _way_out(e, endpoint, repo)
        raise SnapshotError(f"{repo}: {done}: {way_out}" if done else f"{repo}: {way_out}") from e


def _way_out(error: BaseException, endpoint: str, repo: str) -> str:
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    # What failed in an upload stands behind "Error while uploading".
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    for cause in causes:
        if isinstance(cause, HfHubHTTPError):
            return _of_status(cause.response.status_code, cause.server_message, repo)
        if isinstance(cause, httpx2.TimeoutException):
            return f"{endpoint} did not answer in time; {_AGAIN}"
        if isinstance(cause, httpx2.TransportError):
            return (
                f"{endpoint} cannot be reached ({_line(cause)}): is the network there, is HF_ENDPOINT right? {_AGAIN}"
            )
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it to push"
    if isinstance(error, HFValidationError):
        return f"this is no name of a repository ({_line(error)})"
    said = ": ".join(dict.fromkeys(map(_line, causes)))
    # Xet's own errors are of plain classes.
    return said if constants.HF_HUB_DISABLE_XET else f"{said}; a server without Xet storage needs HF_HUB_DISABLE_XET=1"


def _of_status(status: int, said: str | None, repo: str) -> str:
    because = f" ({_line(said)})" if said else ""
    if status == 401:
        return f"the hub does not take the token{because}: {_TOKEN}"
    if status == 403:
        return f"the token may not write there{because}: {_TOKEN}"
    if status == 404:
        return f"not found{because}: is the name right, and may the token see it?"
    if status == 412:
        return f"somebody else has changed it meanwhile{because}: push again"
    if status == 429 or status >= 500:
        return f"the hub answered {status}{because}; {_AGAIN}"
    return f"the hub answered {status}{because}; nothing was published"


def _line(said: object) -> str:
    """The first line of a message, cut."""
    lines = [line.strip() for line in str(said).splitlines() if line.strip()]
    return (lines[0] if lines else type(said).__name__)[:200].rstrip(".")
