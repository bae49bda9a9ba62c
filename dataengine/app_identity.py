"""How the apps are told who people are: checked before they start, and handed to them."""

import getpass
import importlib.util
import ipaddress
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from schemas.access import Access, person_name
from schemas.errors import ConfigError
from schemas.yaml_file import load_yaml

# Where the apps find what is settled here; the secret never stands there, nor on a command line.
VARIABLE = "DATAENGINE_IDENTITY"
SECRET_VARIABLE = "DATAENGINE_PROXY_SECRET"
SECRET_HEADER = "X-Dataengine-Secret"
# Ours: what nobody guesses, and shorter than what `openssl rand` gives.
_LEAST_SECRET = 16
_OF_AUTH = ("redirect_uri", "cookie_secret")
_OF_PROVIDER = ("client_id", "client_secret", "server_metadata_url")
_HOW = "docs/access.md shows how"


class IdentitySettings(BaseModel):
    """What an app has to know of who may use it; `user` is the person of `identity: local`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    access: Access
    user: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variable by which an app is told."""
        return {VARIABLE: self.model_dump_json(exclude_unset=True)}


def identity_settings(
    *,
    address: str = "localhost",
    access: Path | None = None,
    user: str | None = None,
    secrets: Iterable[Path] = (),
) -> IdentitySettings:
    """What an app on that address is to go by, all of it checked.

    `secrets` are Streamlit's files with the settings of OpenID Connect. Raises ConfigError, with the way out, for
    settings that are wrong or missing, and for an address beyond this machine without a way to tell who it is.
    """
    found = load_yaml(access, Access) if access else Access()
    if found.identity != "local":
        if user is not None:
            raise ConfigError(f"--user is for identity: local; by {access} people sign in themselves")
        if found.identity == "header":
            _refuse_without_secret()
        else:
            _refuse_without_provider(found, list(secrets))
        return IdentitySettings(access=found)
    if not is_local(address):
        raise ConfigError(
            f"{address} can be reached by others, and nobody would be asked who they are: --access FILE with "
            f"`identity: header` or `identity: oidc` ({_HOW}), or --address localhost"
        )
    name = _login_name() if user is None else user
    try:
        person = found.person(name)
    except ValueError as e:
        raise ConfigError(f"{_quoted(name)} is no name to review by: {e}; give --user NAME") from None
    if not person.roles:
        raise ConfigError(f"{access}: people: {person.name} has no roles; give them one, or another --user")
    return IdentitySettings(access=found, user=person.name)


def is_local(address: str) -> bool:
    """Whether only this machine can reach what listens there.

    >>> [is_local(a) for a in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "box.example.org")]
    [True, True, True, False, False, False]
    """
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def secrets_files() -> list[Path]:
    """Where Streamlit looks for secrets: what the second says stands in place of what the first does."""
    return [folder / ".streamlit" / "secrets.toml" for folder in (Path.home(), Path.cwd())]


def _login_name() -> str:
    try:
        return person_name(getpass.getuser())
    except (OSError, KeyError, ValueError):
        raise ConfigError("nobody knows your login name here: give --user NAME") from None


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:40]}...")


def _refuse_without_secret() -> None:
    secret = os.environ.get(SECRET_VARIABLE, "")
    if len(secret) < _LEAST_SECRET:
        what = f"has fewer than {_LEAST_SECRET} characters" if secret else "is not set"
        raise ConfigError(
            f"identity: header: {SECRET_VARIABLE} {what}; set it to a secret (openssl rand -hex 32) that the proxy "
            f"sends as {SECRET_HEADER}: {_HOW}"
        )


def _refuse_without_provider(access: Access, files: list[Path]) -> None:
    if importlib.util.find_spec("authlib") is None:
        raise ConfigError("identity: oidc needs authlib: pip install 'dataengine[dashboard,oidc]'")
    there = [file for file in files if file.is_file()]
    if not there:
        raise ConfigError(f"identity: oidc: no {' and no '.join(map(str, files))}; {_HOW}")
    settings: dict[str, Any] = {}
    for file in there:
        settings |= _toml(file)
    auth = _table(settings.get("auth"))
    provider = _table(auth.get(access.provider)) if access.provider else auth
    missing = [name for name in _OF_AUTH if not auth.get(name)]
    within = f"auth.{access.provider}" if access.provider else "auth"
    missing_of_provider = [name for name in _OF_PROVIDER if not provider.get(name)]
    where = " and ".join(map(str, there))
    for table, names in (("auth", missing), (within, missing_of_provider)):
        if names:
            raise ConfigError(f"{where}: [{table}] lacks {', '.join(names)}; {_HOW}")
    if not str(auth["redirect_uri"]).endswith("/oauth2callback"):
        raise ConfigError(f"{where}: redirect_uri is the app's address with /oauth2callback at its end; {_HOW}")
    if len(str(auth["cookie_secret"])) < _LEAST_SECRET:
        raise ConfigError(f"{where}: cookie_secret has fewer than {_LEAST_SECRET} characters: openssl rand -hex 32")


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"{file}: {e.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{file}: no TOML: {e}") from None


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
