"""What keeps an app from being served: told in one line, with the way out."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from dataengine.app_identity import VARIABLE, IdentitySettings, identity_settings
from schemas.access import ROLES
from schemas.errors import ConfigError
from warehouse.store import Warehouse

BEYOND = ["0.0.0.0", "::", "192.0.2.1", "box.example.org", "localhost.example.org", ""]
SECRETS = """\
[auth]
redirect_uri = "https://review.example.org/oauth2callback"
cookie_secret = "0123456789abcdef0123456789abcdef"
client_id = "dataengine"
client_secret = "of the client"
server_metadata_url = "https://login.example.org/.well-known/openid-configuration"
"""


@pytest.fixture
def access(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        file = tmp_path / "access.yaml"
        file.write_text(text)
        return file

    return write


@pytest.fixture
def secrets(tmp_path: Path) -> Any:
    def write(text: str = SECRETS) -> Path:
        file = tmp_path / "secrets.toml"
        file.write_text(text)
        return file

    return write


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAENGINE_PROXY_SECRET", raising=False)


def said(**given: Any) -> str:
    with pytest.raises(ConfigError) as error:
        identity_settings(**given)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("address", BEYOND)
def test_nothing_is_served_beyond_this_machine_without_identity(address: str, access: Any) -> None:
    assert "--access FILE with `identity: header` or `identity: oidc`" in said(address=address)
    assert "nobody would be asked who they are" in said(address=address, user="ann")
    assert "--address localhost" in said(address=address, access=access("identity: local\n"))


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "::1", "127.8.8.8"])
def test_the_named_user_of_this_machine_has_all_roles(address: str) -> None:
    settings = identity_settings(address=address, user=" ann ")
    assert settings.user == "ann"
    assert settings.access.person("ann").roles == ROLES


def test_without_a_name_it_is_the_login_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ben")
    assert identity_settings().user == "ben"


def test_a_login_without_a_name_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "gold")
    assert said() == "nobody knows your login name here: give --user NAME"


@pytest.mark.parametrize("name", ["", "gold", "x" * 300, "a\nb", "a\u202eb"])
def test_what_is_no_name_is_refused_and_shown_in_one_line(name: str) -> None:
    told = said(user=name)
    assert told.endswith("; give --user NAME")
    assert len(told) < 200 and told.isprintable()


def test_a_user_without_roles_is_told_before_the_start(access: Any) -> None:
    assert "ann has no roles" in said(user="ann", access=access("people: {ann: []}\n"))


def test_a_proxys_word_needs_a_secret(access: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = access("identity: header\n")
    assert "DATAENGINE_PROXY_SECRET is not set" in said(access=file, address="0.0.0.0")
    monkeypatch.setenv("DATAENGINE_PROXY_SECRET", "short")
    assert "has fewer than 16 characters" in said(access=file)
    monkeypatch.setenv("DATAENGINE_PROXY_SECRET", "s" * 32)
    settings = identity_settings(access=file, address="0.0.0.0")
    assert settings.user is None
    assert "sss" not in json.dumps(settings.environment)


def test_a_user_is_named_on_ones_own_machine_only(access: Any) -> None:
    assert said(access=access("identity: header\n"), user="ann").startswith("--user is for identity: local")


def test_an_access_file_that_is_wrong_is_told_with_its_line(access: Any) -> None:
    file = access("identity: header\npeople: {ann: [boss]}\n")
    assert said(access=file).startswith(f"{file}:2: people.ann.0 is 'boss'")
    assert said(access=file.with_name("none.yaml")).endswith("none.yaml: no such file or directory")


@pytest.mark.parametrize(
    ("settings", "table"),
    [
        ("identity: oidc\nclaim: sub\n", "auth"),
        ("identity: oidc\nprovider: keycloak\n", "auth.keycloak"),
    ],
)
@pytest.mark.parametrize("name", ["client_id", "client_secret", "server_metadata_url"])
def test_what_openid_connect_lacks_is_named(access: Any, secrets: Any, settings: str, table: str, name: str) -> None:
    pytest.importorskip("authlib")
    shared, _, own = SECRETS.partition("client_id")
    text = f"{shared}{'' if table == 'auth' else f'[{table}]'}\nclient_id{own}"
    file = access(settings)
    assert identity_settings(access=file, secrets=[secrets(text)], address="0.0.0.0").access.identity == "oidc"
    lines = [line for line in text.splitlines() if not line.startswith(name)]
    told = said(access=file, secrets=[secrets("\n".join(lines))])
    assert f"secrets.toml: [{table}] lacks {name}; docs/access.md shows how" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("redirect_uri", "other"), "[auth] lacks redirect_uri;"),
        (("cookie_secret", "other"), "[auth] lacks cookie_secret;"),
        (("/oauth2callback", "/"), "redirect_uri is the app's address with /oauth2callback at its end"),
        (("0123456789abcdef0123456789abcdef", "short"), "cookie_secret has fewer than 16 characters"),
        (("[auth]", "[other]"), "[auth] lacks redirect_uri, cookie_secret;"),
        (("[auth]", "[auth"), "no TOML: "),
    ],
)
def test_settings_of_openid_connect_that_are_wrong_are_told(
    access: Any, secrets: Any, change: tuple[str, str], told: str
) -> None:
    pytest.importorskip("authlib")
    assert told in said(access=access("identity: oidc\n"), secrets=[secrets(SECRETS.replace(*change))])


def test_openid_connect_without_a_file_or_the_package_names_what_is_missing(
    access: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("authlib")
    file = access("identity: oidc\n")
    assert f"no {tmp_path / 'a.toml'} and no {tmp_path / 'b.toml'}" in said(
        access=file, secrets=[tmp_path / "a.toml", tmp_path / "b.toml"]
    )
    # As `import` has it for what is not installed.
    monkeypatch.setitem(sys.modules, "authlib", None)
    assert said(access=file) == "identity: oidc needs authlib: pip install 'dataengine[dashboard,oidc]'"


def test_what_an_app_is_told_is_what_was_settled(access: Any) -> None:
    settings = identity_settings(access=access("people: {'O''Brien \"é\"': [annotator]}\n"), user='O\'Brien "é"')
    assert IdentitySettings.model_validate_json(settings.environment[VARIABLE]) == settings


@pytest.mark.parametrize("command", ["dashboard", "review"])
def test_commands_refuse_in_one_line(cli: Any, tmp_path: Path, command: str) -> None:
    assert "no warehouse here" in cli(command, "--warehouse", tmp_path / "none").err
    Warehouse.open(tmp_path / "w", create=True)
    given = (command, "--warehouse", tmp_path / "w")
    refused = cli(*given, "--address", "0.0.0.0")
    assert refused.code == 2
    assert refused.err.startswith("ConfigError: 0.0.0.0 can be reached by others")
    assert refused.err.count("\n") == 1
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = cli(*given, "--address", "127.0.0.1", "--port", port, "--user", "ann").err
        assert told == (
            f"ConfigError: 127.0.0.1:{port} cannot be served: address already in use; give another --port, or "
            "--address\n"
        )
    assert "a port is a number from 1 to 65535" in cli(*given, "--port", 0, "--user", "ann").err


def test_a_queue_that_is_wrong_keeps_the_review_app_from_starting(cli: Any, tmp_path: Path) -> None:
    Warehouse.open(tmp_path / "w", create=True)
    (tmp_path / "q.yaml").write_text("queue: q\n")
    told = cli("review", "--warehouse", tmp_path / "w", "--queues", tmp_path / "q.yaml").err
    assert told.startswith(f"ConfigError: {tmp_path}/q.yaml:1: title is missing")
