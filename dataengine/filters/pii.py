"""Checks that a reply holds no personal data and no secrets."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters import credentials, personal
from dataengine.filters.personal import Span
from dataengine.filters.settings import changed
from dataengine.filters.texts import screened

#: Spans that are listed as evidence.
MOST_SPANS = 50

_GAP = r"[ ().\-/\x{a0}\x{2010}-\x{2013}]{0,3}"
_NINE_DIGITS = rf"[0-9](?:{_GAP}[0-9]){{8}}"


class Kind(NamedTuple):
    """What is looked for: patterns (Rust's syntax) one of which every text with a find holds, and the finder itself.

    With a `gate` they are tried only on texts that hold that.
    """

    find: Callable[[str], Iterator[Span]]
    screens: tuple[str, ...]
    gate: str = ""
    secret: bool = False


#: Where two overlap the one that starts first is counted, and of several the first here.
KINDS: dict[str, Kind] = {
    "private_key": Kind(credentials.private_keys, ("-----BEGIN [A-Z0-9 ]{0,26}PRIVATE KEY",), secret=True),
    "jwt": Kind(credentials.jwts, ("eyJ",), secret=True),
    "key": Kind(
        credentials.keys,
        (
            "AKIA|ASIA|AIza|gh[pousr]_|github_pat_|gl(?:pat|dt|rt)-|hf_[A-Za-z]",
            "xox[abeprs]-|xapp-|[sr]k_live_|npm_[A-Za-z0-9]|pypi-AgE|SG[.]|sk-[A-Za-z0-9]",
        ),
        secret=True,
    ),
    "password": Kind(
        credentials.passwords,
        (
            "(?i)(?:passw(?:d|ord|ort)|pwd|passphrase|key|token|secret)[\"'*` \t\r\n]{0,6}[:=：]",
            "(?i)contraseña|mot de passe|senha|пароль|密码|パスワード|비밀번호",
            "://[^ /:@]{1,64}:[^ /@]{6,64}@",
        ),
        secret=True,
    ),
    "email": Kind(personal.emails, ("[A-Za-z0-9_]@[A-Za-z0-9-]+[.][A-Za-z]",)),
    "iban": Kind(personal.ibans, (f"(?:{'|'.join(personal.IBAN_LENGTHS)})[0-9]{{2}} ?[A-Z0-9] ?[A-Z0-9] ?[A-Z0-9]",)),
    "card": Kind(
        personal.cards,
        ("[2-6][0-9]{3}(?:[ -][0-9]{4}[ -][0-9]{4}[ -]|[ -][0-9]{6}[ -][0-9]{4}|[0-9]{9})",),
        _NINE_DIGITS,
    ),
    "ssn": Kind(personal.ssns, ("[0-9]{3}[ -][0-9]{2}[ -][0-9]{4}",), _NINE_DIGITS),
    "ip": Kind(
        personal.ips,
        ("[0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}", "[23][0-9a-fA-F]{3}:[0-9a-fA-F]{0,4}:"),
    ),
    "phone": Kind(
        personal.phones,
        (
            rf"[+]{_GAP}[1-9](?:{_GAP}[0-9]){{8}}",
            "[0-9]{3}(?:-|[.]|[)][ -]{0,2})[0-9]{3}[-. ][0-9]{4}",
            "0[1-9][0-9]{0,2}[)]?[ -]?[0-9]{2,4}-[0-9]{3,4}",
            "(?i)phone|tel|tél|mobil|móvil|celular|cell|handy|fax|whats ?app|sms|portable|call (?:me|us|him|her|at)",
            "(?i)тел[.е]|моб[.]|电话|手机|联系方式|電話|手機|携帯|전화|휴대폰|هاتف|جوال|फ़ोन|फोन|मोबाइल",
        ),
        _NINE_DIGITS,
    ),
}


class PiiCheck(Filter):
    """Passes when no personal data and no secrets are found; `kinds` says which are looked for (all of `KINDS`).

    `score` is how many were found, `details.found` how many of each kind, `details.spans` the first fifty as
    [start, end, kind], offsets in characters of `sample.text`. The text itself is never repeated there: a secret would
    stand in two tables. The reason is `secret` where a password or key is among them, else `personal_data`.

    What documentation uses is passed over (example.com, 555 numbers, test cards, AKIA...EXAMPLE), and numbers that a
    calculation may hold need the form, the check digits or the words that only the thing itself has.
    """

    name: ClassVar[str] = "pii"
    RULES: ClassVar[str] = "1"

    def __init__(self, *, kinds: Sequence[str] = tuple(KINDS)) -> None:
        if isinstance(kinds, str) or not all(isinstance(k, str) for k in kinds):
            raise TypeError(f"kinds is {kinds!r}; it must be a list of names")
        unknown = [k for k in kinds if k not in KINDS]
        if unknown or not kinds:
            raise ValueError(f"kinds is {list(kinds)!r}; it must name some of {', '.join(KINDS)}")
        self.kinds = tuple(k for k in KINDS if k in kinds)
        super().__init__(**changed(type(self).__init__, {"kinds": self.kinds}))

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        return self([sample])[0]

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        opinions = [Opinion("pass", 0.0)] * len(samples)
        for index, kinds in candidates([s.text for s in samples], self.kinds).items():
            opinions[index] = _told(found(samples[index].text, kinds))
        return opinions


def candidates(texts: Sequence[str], kinds: Sequence[str]) -> dict[int, list[str]]:
    """By index those texts that may hold something, and of the `kinds` those that they may hold."""
    passed: dict[int, list[str]] = {}
    for gate in dict.fromkeys(KINDS[k].gate for k in kinds):
        behind = [k for k in kinds if KINDS[k].gate == gate]
        inside = screened(texts, [gate])[0] if gate else range(len(texts))
        screens = [(k, s) for k in behind for s in KINDS[k].screens]
        hits = screened([texts[i] for i in inside], [s for _, s in screens]) if inside else []
        for (kind, _), places in zip(screens, hits, strict=False):
            for place in places:
                passed.setdefault(inside[place], []).append(kind)
    return {index: [k for k in kinds if k in told] for index, told in passed.items()}


def found(text: str, kinds: Sequence[str]) -> list[tuple[int, int, str]]:
    """What of these kinds stands in `text`, as (start, end, kind), in order and without overlaps."""
    every = [(start, rank, end, kind) for rank, kind in enumerate(kinds) for start, end in KINDS[kind].find(text)]
    kept: list[tuple[int, int, str]] = []
    for start, _, end, kind in sorted(every):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end, kind))
    return kept


def _told(spans: list[tuple[int, int, str]]) -> Opinion:
    if not spans:
        return Opinion("pass", 0.0)
    counts = Counter(kind for _, _, kind in spans)
    details: dict[str, Any] = {"found": dict(counts), "spans": [list(s) for s in spans[:MOST_SPANS]]}
    secret = any(KINDS[kind].secret for kind in counts)
    return Opinion("fail", float(len(spans)), "secret" if secret else "personal_data", details)
