"""The one map of keys of the review screen, checked for collisions when the app starts."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from schemas.errors import ConfigError

When = Literal["always", "attempt", "pair"]
Group = Literal["Decide", "Write", "Read", "Screen"]


class Key(NamedTuple):
    """One key: what it does, how it is written ("y", "Shift+W", "Ctrl+Enter"), what it says, in which tasks."""

    action: str
    key: str
    label: str
    when: When = "always"
    group: Group = "Decide"


#: A key for every action of the screen. Adjudication uses the keys of what is decided: an attempt or a pair.
KEYS: Final[tuple[Key, ...]] = (
    Key("approve", "y", "Approve (an edited text: save the edit) and go on", "attempt"),
    Key("reject", "x", "Reject: then reasons by digit, then Enter", "attempt"),
    Key("left", "h", "The left one is better", "pair"),
    Key("right", "l", "The right one is better", "pair"),
    Key("tie", "t", "Neither is better", "pair"),
    Key("flag", "f", "Flag for an adjudicator: then a note, then Ctrl+Enter"),
    Key("skip", "s", "Skip: give it to somebody else"),
    Key("send", "Ctrl+Enter", "Send what is chosen (nothing chosen: approve, or the edit) and go on"),
    Key("confirm", "Enter", "Send the chosen reject or flag"),
    Key("undo", "u", "Undo the last decision and open it again"),
    Key("next", ".", "Go to the next task"),
    Key("reason", "1-9", "Reason for rejecting or flagging, on or off"),
    Key("edit", "e", "Edit the text, or leave the editor", "attempt", "Write"),
    Key("diff", "d", "Changes beside the editor, on or off", "attempt", "Write"),
    Key("note", "n", "Write a note", "always", "Write"),
    Key("leave", "Escape", "Leave a field, close a panel, unchoose", "always", "Write"),
    Key("discard", "Shift+X", "Discard your changes (press twice)", "always", "Write"),
    Key("down", "j", "Next paragraph", "always", "Read"),
    Key("up", "k", "Paragraph before", "always", "Read"),
    Key("fold", "o", "Fold or unfold the paragraph", "always", "Read"),
    Key("fold_all", "Shift+O", "Fold or unfold all paragraphs", "always", "Read"),
    Key("answer", "a", "To the answer, behind the thinking", "always", "Read"),
    Key("box", "b", "To the last box", "always", "Read"),
    Key("wait", "w", 'To the next "wait" and its like', "always", "Read"),
    Key("wait_back", "Shift+W", 'To the "wait" before', "always", "Read"),
    Key("mark", "m", "To the next mark", "always", "Read"),
    Key("mark_back", "Shift+M", "To the mark before", "always", "Read"),
    Key("column", "i", "To the other column", "pair", "Read"),
    Key("view", "v", "Exact and rendered, only exact, only rendered", "always", "Screen"),
    Key("problem", "p", "Problem, smaller or larger", "always", "Screen"),
    Key("guidelines", "g", "Guidelines, show or hide", "always", "Screen"),
    Key("help", "?", "Keys, show or hide", "always", "Screen"),
)

_MODIFIERS: Final = ("Ctrl", "Alt", "Shift", "Meta")
_NAMED: Final = ("Enter", "Escape", "Space", "Backspace", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")
# Streamlit clears its cache at C and runs the script again at R, with modifiers too.
_RESERVED: Final = ("c", "r")


def check_keys(keys: Iterable[Key] = KEYS) -> None:
    """Raises ConfigError when two actions share a key in one kind of task, or a key is Streamlit's or unreadable."""
    taken: dict[tuple[str, When], Key] = {}
    for key in keys:
        for written in _expanded(key):
            for when in ("attempt", "pair") if key.when == "always" else (key.when,):
                other = taken.setdefault((written, when), key)
                if other is not key:
                    raise ConfigError(
                        f"the key {key.key} is both {other.action!r} and {key.action!r}: give one of them another key"
                    )


def _expanded(key: Key) -> list[str]:
    """The single keys of one entry, in one form: modifiers in order, letters small."""
    *modifiers, last = key.key.split("+") if key.key != "+" else ["+"]
    if "-" in last and len(last) == 3:
        return [f"{'+'.join([*modifiers, ''])}{digit}" for digit in range(int(last[0]), int(last[2]) + 1)]
    if (len(last) != 1 and last not in _NAMED) or any(m not in _MODIFIERS for m in modifiers):
        raise ConfigError(f"the key {key.key!r} of {key.action!r} cannot be read: write it as y, Shift+W or Ctrl+Enter")
    if last.lower() in _RESERVED:
        raise ConfigError(f"the key {key.key} of {key.action!r} belongs to Streamlit: give it another key")
    return ["+".join([*sorted(modifiers), last.lower() if len(last) == 1 else last])]


def reason_keys(reasons: Mapping[str, str]) -> list[dict[str, str]]:
    """A queue's reasons (code to label) with a digit each; those behind the ninth have none."""
    digits = [str(d) for d in range(1, 10)]
    return [
        {"code": code, "label": label, "key": digits[i] if i < len(digits) else ""}
        for i, (code, label) in enumerate(reasons.items())
    ]
