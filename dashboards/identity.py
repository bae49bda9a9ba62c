"""Who is looking at a page, and whether they may: nothing of an app is shown before this is known."""

import hmac
import os
from functools import cache
from typing import Any, NoReturn

import streamlit as st
from pydantic import ValidationError

from dataengine.app_identity import SECRET_HEADER, SECRET_VARIABLE, VARIABLE, IdentitySettings, is_local
from schemas.access import Access, Person
from schemas.records import Role

_SEEN = "dataengine: who is signed in"


def person() -> Person:
    """Who is signed in; ends the page, with a way to sign in or a refusal, where nobody is or they may not come in.

    To be called once in every run of an app, before anything is shown. The sidebar then says who it is.
    """
    settings, found = _known()
    _say_who(found, settings.access)
    return found


def known_person() -> Person:
    """As `person`, for what a page does later: the sidebar stays as it is."""
    return _known()[1]


def _known() -> tuple[IdentitySettings, Person]:
    settings = _settings(os.environ.get(VARIABLE))
    if settings is None:
        _refuse("This app was started without saying who may use it: start it by `dataengine`.")
    access = settings.access
    if access.identity == "header":
        found = _person_of(access, _named_by_proxy(access))
    elif access.identity == "oidc":
        found = _person_of(access, _signed_in(access))
    else:
        _refuse_from_elsewhere()
        found = _person_of(access, settings.user or "")
    if not found.roles:
        _refuse_whom(found.name, "is signed in and has no role here: ask those who keep the access file.", access)
    if st.session_state.setdefault(_SEEN, found.name) != found.name:
        # Somebody else has come back to this session: nothing that was in it is theirs.
        st.session_state.clear()
        st.session_state[_SEEN] = found.name
    return settings, found


def dashboard_address() -> str | None:
    """Where the access file says that the dashboard is."""
    settings = _settings(os.environ.get(VARIABLE))
    return None if settings is None else settings.access.dashboard


def needs(found: Person, role: Role) -> None:
    """Ends the page, with a refusal, for a person without that role."""
    if role not in found.roles:
        _refuse(f"This page is for people with the role {role}.")


@cache
def _settings(text: str | None) -> IdentitySettings | None:
    try:
        return None if text is None else IdentitySettings.model_validate_json(text)
    except ValidationError:
        return None


def _person_of(access: Access, name: str) -> Person:
    try:
        return access.person(name)
    except ValueError as e:
        _refuse_whom(name, f"is no name to work by: {e}.", access)


def _named_by_proxy(access: Access) -> str:
    """The name that the proxy gives, which is believed for the secret that it sends with it."""
    secret = os.environ.get(SECRET_VARIABLE, "")
    given = st.context.headers.get_all(SECRET_HEADER)
    # Two values are of two senders, of whom one is not the proxy.
    if not secret or len(given) != 1 or not hmac.compare_digest(_as_sent(given[0]), secret.encode()):
        _refuse("You came past the proxy that signs people in: use its address.")
    names = st.context.headers.get_all(access.header)
    if len(names) != 1 or not names[0].strip():
        _refuse("The proxy did not say who you are: sign in there.")
    return _as_sent(names[0]).decode("utf-8", "replace")


def _as_sent(header: str) -> bytes:
    """A header's bytes: servers read them as Latin-1, and proxies write UTF-8."""
    return header.encode("latin-1", "replace")


def _signed_in(access: Access) -> str:
    """What the provider of OpenID Connect calls the person."""
    if not st.user.get("is_logged_in"):
        st.title("dataengine")
        st.text("Sign in to go on.")
        _button("Sign in", st.login, access.provider)
        st.stop()
    claim = st.user.get(access.claim)
    if not isinstance(claim, str) or not claim.strip():
        _refuse(f"Your provider does not say your {access.claim}: the access file may name another claim.", access)
    # Some providers write it as a text.
    if access.claim == "email" and st.user.get("email_verified") in (False, "false"):
        _refuse_whom(claim, "is an address that your provider has not verified.", access)
    return claim


def _refuse_from_elsewhere() -> None:
    """The person of one's own machine is nobody who comes from another."""
    address = st.context.ip_address
    if isinstance(address, str) and not is_local(address):
        _refuse("This app is for the user of the machine that it runs on.")


def _say_who(found: Person, access: Access) -> None:
    with st.sidebar:
        # Names are text that others chose: never Markdown.
        st.text(f"{found.name}\n{', '.join(found.roles)}")
        if access.identity == "local":
            st.warning("Nobody signed in: whoever uses this machine is this person.", icon=":material/no_accounts:")
        if access.identity == "oidc":
            _button("Sign out", st.logout)


def _refuse_whom(name: str, why: str, access: Access) -> NoReturn:
    st.text(name if len(name) <= 100 else f"{name[:100]}...")
    _refuse(why, access)


def _refuse(why: str, access: Access | None = None) -> NoReturn:
    st.error(why)
    if access is not None and access.identity == "oidc":
        _button("Sign out", st.logout)
    st.stop()


def _button(label: str, act: Any, *arguments: Any) -> None:
    st.button(label, key=f"dataengine: {label}", on_click=act, args=arguments)
