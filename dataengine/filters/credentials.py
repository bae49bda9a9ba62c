"""Finds secrets in a text: keys of known services, private keys, signed tokens, passwords that are assigned.

Every finder yields (start, end) in order, in time linear in the text, and leaves out what stands for a secret only.
"""

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Iterator

from dataengine.filters.personal import Span

_KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:AKIA|ASIA)[A-Z2-7]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"
    r"|gl(?:pat|dt|rt)-[\w-]{20,255}"  # GitLab
    r"|xox[abeprs]-[A-Za-z0-9-]{20,255}|xapp-[0-9]-[A-Za-z0-9-]{20,255}"  # Slack
    r"|hf_[A-Za-z]{34}"  # Hugging Face
    r"|sk-(?:proj-|svcacct-|admin-|ant-|or-v1-)?[\w-]{32,255}"  # OpenAI and those that took its form
    r"|AIza[\w-]{35}"  # Google
    r"|[sr]k_live_[A-Za-z0-9]{16,255}"  # Stripe
    r"|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50,255}|SG\.[\w-]{22}\.[\w-]{43}"  # npm, PyPI, SendGrid
    r")(?![A-Za-z0-9_-])",
    re.ASCII,
)
_PEM = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----(?:\s{1,3}[A-Za-z-]{2,20}: [^\n]{0,100}\n){0,5}"
    r"(?:[A-Za-z0-9+/=\s]|\\[nr]){64,20000}(?:-----END [A-Z0-9 ]{11,40}-----)?"
)
_JWT = re.compile(r"(?<![\w-])(eyJ[\w-]{8,})\.(eyJ[\w-]{4,})\.[\w-]{16,}", re.ASCII)
_ASSIGNED = re.compile(
    r"(?<![A-Za-z])(?:password|passwd|pwd|passphrase|passwort|contraseña|mot de passe"
    r"|senha|пароль|密码|パスワード|비밀번호"
    r"|(?:secret|private|access|api|auth|encryption)[_ -]?(?:access[_ -]?)?(?:key|token)|client[_-]?secret)"
    r"[\"'*`]{0,3}\s{0,3}(?::=|=>|[=:：])\s{0,3}[\"'*`]{0,3}([^\s\"'`,;<>(){}\[\]]{8,128})(?![^\s\"'`,;<>)}\]])",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"://[^\s/:@]{1,64}:([^\s/@]{6,64})@(?=[A-Za-z0-9])")
_STANDS_FOR = re.compile(
    r"example|placeholder|dummy|sample|change.?me|redacted|your|secret|passw|p[a@][s$]{2}w|token|0123456|1234567"
    r"|abcdef|x{4}|\*{3}|\.{3}|_here|\$[{(A-Z]|%[({]|https?://",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-z_]\w*(?:[.\-:/][A-Za-z_]\w*)+")
_CLASSES = tuple(re.compile(c) for c in ("[a-z]", "[A-Z]", "[0-9]", r"[^A-Za-z0-9]"))


def keys(text: str) -> Iterator[Span]:
    """Keys and tokens of services, by their documented prefix and length."""
    for m in _KEY.finditer(text):
        value = m.group()
        body = value[4:]
        if _STANDS_FOR.search(value) or len(set(body)) < 8:
            continue
        if value.startswith("sk-") and not (re.search("[0-9]", body) and re.search("[A-Za-z]", body)):
            continue
        if value.startswith("sk-") and _entropy(body) < 3.5:
            continue
        yield m.span()


def private_keys(text: str) -> Iterator[Span]:
    """Private keys in PEM, with a body and not only the frame."""
    for m in _PEM.finditer(text):
        yield m.span()


def jwts(text: str) -> Iterator[Span]:
    """JSON web tokens whose header can be read; not the one that documentation shows (subject 1234567890)."""
    for m in _JWT.finditer(text):
        header, payload = _decoded(m[1]), _decoded(m[2])
        if header and "alg" in header and (payload or {}).get("sub") != "1234567890":
            yield m.span()


def passwords(text: str) -> Iterator[Span]:
    """The values of `password = ...` and its like, and of `//user:password@host`, where they look drawn by chance."""
    found = [m for m in _ASSIGNED.finditer(text) if _is_random(m[1])]
    found += [m for m in _USERINFO.finditer(text) if not _STANDS_FOR.search(m[1]) and _classes(m[1]) >= 2]
    yield from sorted(m.span(1) for m in found)


def _is_random(value: str) -> bool:
    if _STANDS_FOR.search(value) or _NAME.fullmatch(value) or not value.isascii():
        return False
    return _classes(value) >= 3 and _entropy(value) >= 2.75


def _classes(value: str) -> int:
    return sum(c.search(value) is not None for c in _CLASSES)


def _entropy(value: str) -> float:
    """Bits per character, by the counts of the characters."""
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)


def _decoded(part: str) -> dict[str, object] | None:
    part = part[:4096]
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
