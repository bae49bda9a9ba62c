"""What a verdict rests on: the spans that its details name, shown in the text around them."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dataengine.screen import one_line

#: Spans of one verdict that are shown, characters around one, and characters of one.
MOST_SPANS = 5
AROUND = 40
LONGEST = 160

_SHOWN_IN_TEXT = {"spans", "span", "matches", "representative"}


@dataclass(frozen=True)
class Span:
    """A stretch of a text: offsets in characters of the `reply` or the `prompt`, and what is said of it."""

    start: int
    end: int
    label: str = ""
    of: str = "reply"

    def within(self, text: str) -> str:
        """`120-124 zh  …before ⟦the span⟧ after…`, on one line."""
        start, end = max(0, min(self.start, len(text))), max(0, min(self.end, len(text)))
        before, after = one_line(text[max(0, start - AROUND) : start]), one_line(text[end : end + AROUND])
        inside = text[start:end]
        if len(inside) > LONGEST:
            inside = f"{inside[: LONGEST - 60]} … {inside[-60:]}"
        cut = ("…" if start > AROUND else "", "…" if end + AROUND < len(text) else "")
        shown = f"{cut[0]}{before}⟦{one_line(inside)}⟧{after}{cut[1]}"
        place = f"{self.start}-{self.end}" + (" of the prompt" if self.of == "prompt" else "")
        return f"{place} {self.label}".rstrip() + f"  {shown}"


def spans_of(details: Mapping[str, Any]) -> list[Span]:
    """The spans in a verdict's details, in the forms that checks write.

    `spans`: [[start, end, label], ...], the label may be missing; `span`: [start, end]; `matches`: [{span, in,
    benchmark, item, part, share}, ...]. What has another form is passed over: verdicts may come from anybody.
    """
    found = [_span(s) for s in _listed(details.get("spans"))]
    label = details.get("rule") or details.get("pattern") or ""
    found.append(_span(details.get("span"), str(label)))
    for match in _listed(details.get("matches")):
        if isinstance(match, dict):
            told = [str(match[k]) for k in ("benchmark", "item", "part") if match.get(k)]
            told += [f"{match['share']:.0%} of it"] if isinstance(match.get("share"), int | float) else []
            found.append(_span(match.get("span"), " ".join(told), str(match.get("in", "reply"))))
    return [s for s in found if s]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _span(value: Any, label: str = "", of: str = "reply") -> Span | None:
    if not isinstance(value, list) or len(value) < 2 or not all(type(v) is int for v in value[:2]):
        return None
    return Span(value[0], value[1], str(value[2]) if value[2:] and value[2] is not None else label, of)


def lines_of(details: Mapping[str, Any], texts: Mapping[str, str], hide: Callable[[str], str] = str) -> Iterator[str]:
    """A verdict's evidence, line by line: what its details say, then its spans in `texts` (`reply` and `prompt`).

    `hide` is put on what the details say; it must keep the length of the texts, which are given as it left them.
    """
    rest = {k: each_text(v, hide) for k, v in details.items() if k not in _SHOWN_IN_TEXT}
    if rest:
        said = one_line(json.dumps(rest, ensure_ascii=False))
        yield said if len(said) <= 400 else f"{said[:399]}…"
    if details.get("representative"):
        yield f"the one that stands for it: {details['representative']}"
    spans = spans_of(details)
    for span in spans[:MOST_SPANS]:
        yield span.within(texts.get(span.of, ""))
    if len(spans) > MOST_SPANS:
        yield f"and {len(spans) - MOST_SPANS} more"


def each_text(value: Any, do: Callable[[str], str]) -> Any:
    """A value as JSON knows them, with every text in it replaced by what `do` makes of it."""
    if isinstance(value, str):
        return do(value)
    if isinstance(value, dict):
        return {k: each_text(v, do) for k, v in value.items()}
    return [each_text(v, do) for v in value] if isinstance(value, list) else value


def secrets_hidden(text: str, spans: Iterable[Span]) -> Callable[[str], str]:
    """A function that masks, in any text, the passwords and keys that the spans of `pii` mark in `text`.

    What it returns is as long as what it was given. The first characters stay, so that a key can be told.
    """
    from dataengine.filters.pii import KINDS

    found = {text[s.start : s.end] for s in spans if s.label in KINDS and KINDS[s.label].secret}
    masks = {secret: _masked(secret) for secret in sorted(found, key=len, reverse=True) if secret.strip()}

    def hide(other: str) -> str:
        for secret, mask in masks.items():
            other = other.replace(secret, mask)
        return other

    return hide


def _masked(secret: str) -> str:
    shown = max(2, min(4, len(secret) // 4))
    return secret[:shown] + "".join(c if c.isspace() else "•" for c in secret[shown:])
