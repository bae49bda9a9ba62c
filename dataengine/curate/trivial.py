"""Which questions take no thought: the smallest sums, greetings and thanks. The rule is ours; no paper states one."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from dataengine.verify.exact import UNSPACED
from schemas.recipe import Thought
from schemas.records import Message, Prompt

#: Characters of a question that may be trivial.
MOST_CHARACTERS = 80

_ASKING = (
    *("what is", "what's", "whats", "what does", "how much is", "calculate", "compute", "solve", "work out"),
    *("evaluate", "please", "equal", "equals", "is equal to", "the result of", "quickly", "ok", "okay"),
    *("was ist", "wie viel ist", "wieviel ist", "berechne", "rechne", "bitte", "combien font", "calcule", "calculez"),
    *("cuánto es", "cuanto es", "calcula", "por favor", "quanto é", "quanto fa", "сколько будет", "вычисли"),
    *("等于多少", "等于几", "等于", "是多少", "多少", "计算", "请", "请问"),
    *("はいくつですか", "は", "いくつ", "計算して"),
)
_SIGNS = {
    **dict.fromkeys(("plus", "加", "加上", "たす", "más", "плюс"), "+"),
    **dict.fromkeys(("minus", "moins", "menos", "减", "减去", "ひく", "минус"), "-"),
    **dict.fromkeys(("times", "multiplied by", "mal", "fois", "乘", "乘以", "かける", "x"), "*"),
    **dict.fromkeys(("divided by", "geteilt durch", "divisé par", "除以", "わる"), "/"),
}
_SYMBOLS = str.maketrans({"×": "*", "·": "*", "⋅": "*", "÷": "/", "\u2212": "-", "\u2013": "-", "\u2019": "'"})
# What may stand around a sum: an equals sign, marks of sentences and of formulas.
_PUNCTUATION = re.compile(r"[=?!.,;:、。$]+(?=\s|$)|(?:^|(?<=\s))[:$]+")
_WORDS = re.compile(r"[^\W_]|[+*/=<>%$\\^]")
# Two whole numbers of two digits to add or subtract; of one digit, or 10, to multiply or divide: not by 0,
# which does take a thought.
_SUM = re.compile(r"-?\d{1,2} ?[+-] ?-?\d{1,2}|-?(?:10|\d) ?(?:\* ?-?(?:10|\d)|/ ?-?(?:10|[1-9]))")

_GREETING = (
    *("hello", "hi", "hey", "hi there", "hello there", "hey there", "howdy", "greetings", "good morning"),
    *("good afternoon", "good evening", "good night", "how are you", "how are you doing", "how are you today"),
    *("how's it going", "what's up", "nice to meet you", "thanks", "thank you", "thank you very much", "thanks a lot"),
    *("thank you for your help", "thanks for your help", "bye", "goodbye", "see you", "see you later", "and you"),
    *("hallo", "guten morgen", "guten tag", "guten abend", "gute nacht", "wie geht es dir", "wie geht's", "danke"),
    *("vielen dank", "danke schön", "tschüss", "auf wiedersehen", "bonjour", "bonsoir", "salut", "merci"),
    *("merci beaucoup", "ça va", "comment ça va", "au revoir", "hola", "buenos días", "buenas tardes"),
    *("buenas noches", "qué tal", "cómo estás", "gracias", "muchas gracias", "adiós", "olá", "oi", "bom dia"),
    *("boa tarde", "boa noite", "tudo bem", "obrigado", "obrigada", "ciao", "buongiorno", "buonasera", "grazie"),
    *("привет", "здравствуй", "здравствуйте", "доброе утро", "добрый день", "добрый вечер", "как дела", "спасибо"),
    *("你好", "您好", "嗨", "早上好", "下午好", "晚上好", "晚安", "你好吗", "谢谢", "谢谢你", "再见"),
    *("こんにちは", "こんばんは", "おはよう", "おはようございます", "ありがとう", "ありがとうございます", "さようなら"),
    *("안녕하세요", "안녕", "감사합니다", "고마워요", "مرحبا", "السلام عليكم", "شكرا", "صباح الخير", "नमस्ते", "धन्यवाद"),
)


def _phrases(phrases: Iterable[str]) -> re.Pattern[str]:
    """Whole phrases, longest first; in scripts that put no spaces between words they have no bounds."""
    texts = sorted({unicodedata.normalize("NFKC", p) for p in phrases}, key=lambda p: (-len(p), p))
    joined, spaced = ("|".join(re.escape(t) for t in texts if bool(UNSPACED.match(t)) is u) for u in (True, False))
    return re.compile(rf"(?<![^\W\d_])(?:{spaced})(?![^\W\d_])" + (f"|{joined}" if joined else ""))


_ASKED, _GREETED, _SIGN = _phrases(_ASKING), _phrases(_GREETING), _phrases(_SIGNS)


def trivial(question: str) -> bool:
    """Whether a question takes no thought: a sum of two small numbers, or nothing but a greeting, thanks or farewell.

    Sums are written in signs or words ("1+1=?", "What is 9 minus 4?", "7乘以8等于多少"): numbers of two digits at most
    to add or subtract, of one digit or 10 to multiply or divide. A dozen languages are known; in others a question is
    not trivial. Neither is one over `MOST_CHARACTERS`.

    >>> [trivial(q) for q in ("1+1=?", "Hello, how are you?", "What is 17 * 23?", "Hello, who wrote Faust?")]
    [True, True, False, False]
    """
    if len(question) > 2 * MOST_CHARACTERS:
        return False
    text = " ".join(unicodedata.normalize("NFKC", question).casefold().translate(_SYMBOLS).split())
    if not text or len(text) > MOST_CHARACTERS:
        return False
    rest, greetings = _GREETED.subn(" ", text)
    return _is_sum(text) or (greetings > 0 and not _WORDS.search(rest))


def is_trivial(messages: Sequence[Message]) -> bool:
    """Whether a prompt's question is trivial; one that follows earlier turns leans on them and is not."""
    asked = [m for m in messages if m.role != "system"]
    return len(asked) == 1 and trivial(asked[0].content)


def sifted(prompts: Iterable[Prompt], only: Thought | None) -> list[Prompt]:
    """The prompts whose questions are trivial, or those whose are not; all of them for None."""
    return [p for p in prompts if only is None or is_trivial(p.messages) == (only == "trivial")]


def _is_sum(text: str) -> bool:
    text = _SIGN.sub(lambda m: _SIGNS[m.group()], _ASKED.sub(" ", text))
    text = " ".join(_PUNCTUATION.sub(" ", text).split())
    return _SUM.fullmatch(re.sub(r" ?([+*/-]) ?", r"\1", text)) is not None
