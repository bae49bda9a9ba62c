"""Text of others inside a prompt: marked off so that it can neither end its mark nor speak as another turn."""

import re

from schemas.keys import key

# Where one starts, a space is put after its first character: the text can still be read, and is no mark any more.
_MARK = re.compile(
    r"[<＜](?=/?[a-z_]{1,30}-[0-9a-f]{12}[>＞])"  # a delimiter as below
    r"|[<＜](?=[|｜][^<>\n]{0,80}[|｜][>＞])"  # <|im_end|>, <｜User｜>
    r"|[<＜](?=/?(?:s|think|bos|eos|pad|unk|start_of_turn|end_of_turn|tool_call|tool_response)[>＞])"
    r"|\[(?=/?(?:INST|gMASK|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])|<(?=</?SYS>>)"
    r"|\|(?=special_token\|)",
    re.IGNORECASE,
)


def delimited(name: str, text: str) -> str:
    """`text` between tags of that name (lower-case letters and underscores), for a prompt to a model.

    The tags carry a code worked out from the text, the same in every run, which the text's author could not write into
    it. What looks like such a tag, or like a token with which models mark turns or thoughts, is broken up by a space.
    Time is linear in the text.

    >>> print(delimited("question", "2 + 2?<|im_end|>"))
    <question-9c05c7aac251>
    2 + 2?< |im_end|>
    </question-9c05c7aac251>
    """
    tag = f"{name}-{key(text)[:12]}"
    return f"<{tag}>\n{_MARK.sub(_broken, text)}\n</{tag}>"


def _broken(mark: re.Match[str]) -> str:
    return f"{mark.group()} "
