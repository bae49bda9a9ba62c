"""Words and phrases that are counted in replies, as patterns in the syntax of Rust's `regex`.

Each is found as written and with a capital first letter. Up to some 60 beginnings are searched for at the speed of
memory, more several times slower, which is why there are several patterns; a word boundary of Unicode may be a thousand
times slower. So Latin script has ASCII's boundaries, other words stand between spaces or marks where they must. A text
is taken to begin with a line break.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

Phrases = Mapping[str, tuple[str, ...]]

_AGAIN = "(?:check|verify|examine|evaluate|consider|calculate|compute|think|read|do)"
_CHECK = f"(?:check|verify|confirm|double[- ]check|re-?{_AGAIN}|test|make sure|see if|think again|try again)"

#: Where a writer stops and looks again, by language: "wait", "let me check" and their like.
REFLECTION: Final[Phrases] = {
    "en": (
        *("wait", "WAIT", "hmm+", "hold on", "on second thought", "actually", "alternatively", "double[- ]check"),
        *(f"let me {_CHECK}", f"let['’]s {_CHECK}"),
    ),
    "de": (
        *("warte", "moment mal", "zur probe", "lass(?:en sie)? mich", "noch ?(?:ein)?mal nachrechnen"),
        *("prüfen wir", "überprüfen wir", "noch ?(?:ein)?mal (?:über)?prüfen"),
    ),
    "fr": (
        *("attend(?:s|ez)", "un instant[,.!]", "laissez?-moi"),
        *("à la réflexion", "vérifions", "revérifions", "je (?:re)?vérifie"),
    ),
    "es": (
        *("esper[ae],", "un momento[,.!]", "verifiquemos", "comprobemos", "pensándolo bien"),
        *(f"{let} (?:comprobar|verificar|revisar|pensar|ver si)" for let in ("dejame", "déjame")),
    ),
    "pt": (
        *("um momento[,.!]", "pensando bem", "vamos (?:verificar|conferir|checar)"),
        "deix[ae](?:-me| eu) (?:verificar|conferir|checar|pensar|rever)",
    ),
    "it": (
        *("aspetta(?:te)?", "un attimo[,.!]", "ripensandoci", "in alternativa", "verifichiamo"),
        *(f"{let} (?:controllare|verificare|pensare)" for let in ("fammi", "lasciami")),
    ),
    "ru": (
        *("подожди", "погоди", "стоп[,.!…]", "хм+[,.!… ]", "проверим", "перепровер", "если подумать"),
        *("давай(?:те)? (?:ещё раз )?провер", "с другой стороны"),
    ),
    "ar": (
        *("انتظر", "لحظة[،,.!…]", "مهلا", "هممم*", "لنتحقق", "لنتأكد", "بدلاً من ذلك"),
        *("دعني (?:أتحقق|أتأكد|أراجع|أفكر|أعيد)", "دعونا (?:نتحقق|نتأكد|نراجع)"),
    ),
    "hi": (
        *("रुको", "रुकिए", "ठहरो", "ठहरिए", "एक मिनट[,।!…]", "हम्म", "मुझे (?:जाँच|जांच)"),
        *("दोबारा (?:जाँच|जांच|सोच|देख|गणना)", "फिर से (?:जाँच|जांच|सोच|देख|गणना)", "जाँच (?:लेते|करते|लें)"),
    ),
    "zh": (
        *("等等[，,！…]", "等一下", "等下[，,]", "稍等", "不对[，,。！]", "验算", "检验一下", "仔细想想", "再想想"),
        *(
            "让我(?:们)?(?:再|重新|来)?(?:检查|验证|确认|核对|核实|想想|思考|看看|算一?遍)",
            "再(?:检查|验证|确认|核对|算一?遍)",
        ),
        *("重新(?:检查|验证|考虑|思考|审视|计算|算)", "换(?:个|一个|一种)(?:角度|思路|方法)", "另一种(?:方法|思路)"),
    ),
    "ja": (
        *("待って", "待てよ", "検算", "うーん", "ふむ", "考え直", "見直して", "確かめて", "確かめよう", "確認してみ"),
        *(f"{again}[、]?(?:考え|確認|確かめ|計算)" for again in ("もう一度", "再度", "念のため")),
        "別の(?:方法|やり方|考え方)",
    ),
    "ko": (
        *("잠깐", "잠시만", "흠", "음[,.…]", "검산", "확인해 ?보", "다른 방법"),
        *("다시 (?:한번 )?(?:확인|생각|계산|검토)",),
    ),
}

_LEFT, _RIGHT = "[ \n(«—]", r"(?:[\s,.:;!?…)»“”\"।—-]|\z)"


def _apart(*words: str) -> tuple[str, ...]:
    return tuple(f"{_LEFT}{form}{_RIGHT}" for word in words for form in dict.fromkeys((word, word.capitalize())))


#: A writer as "I". Languages that leave the pronoun out have none to count.
SINGULAR: Final[Phrases] = {
    "en": ("I",),
    "de": ("ich",),
    "fr": ("je", "j'", "j’"),
    "ru": _apart("я"),
    "hi": _apart("मैं", "मैंने", "मुझे"),
    "zh": (r"我(?:[^们們]|\z)",),
    "ja": tuple(rf"{i}(?:[^たら達]|\z)" for i in "私僕俺"),
    "ko": ("나는", "내가", "저는", "제가"),
}
#: ... and as "we".
PLURAL: Final[Phrases] = {
    "en": ("we", "let['’]s", "let us"),
    "de": ("wir",),
    "fr": ("nous",),
    "ru": _apart("мы"),
    "hi": _apart("हम", "हमने", "हमें"),
    "zh": ("我们", "我們", "咱们"),
    "ja": ("私たち", "私達", "僕たち", "俺たち", "我々"),
    "ko": ("우리",),
}

#: A step that says so, by its number; in Latin letters all are searched for together.
STEP: Final[Phrases] = {
    "en": tuple(f"{step} [0-9]+" for step in ("step", "schritt", "paso", "passo", "passaggio")),
    "fr": ("étape [0-9]+",),
    "ru": ("шаг [0-9]",),
    "ar": ("الخطوة",),
    "hi": ("चरण [0-9]",),
    "zh": ("第[一二三四五六七八九十0-9]{1,3}步", "步骤[ ：:]?[一二三四五六七八九十0-9]"),
    "ja": ("ステップ ?[0-9]", "手順 ?[0-9]"),
    "ko": ("[0-9] ?단계", "단계 [0-9]"),
}

_LATIN = ("de", "fr", "es", "pt", "it")
_OTHERS = (("ru", "ar", "hi"), ("zh", "ja", "ko"))
_MOST = 64


def patterns(phrases: Phrases, *, plain: bool) -> list[str]:
    """The patterns for phrases; with `plain` only those for what text of ASCII alone may hold."""
    latin = [phrase for language in _LATIN for phrase in phrases.get(language, ())]
    groups = [list(_words(phrases["en"])), list(_words(p for p in latin if p.isascii()))]
    if not plain:
        others = [list(_words(p for p in latin if not p.isascii()))]
        others += [list(_cased(p for language in group for p in phrases.get(language, ()))) for group in _OTHERS]
        groups += others if sum(map(len, others)) > _MOST else [[phrase for group in others for phrase in group]]
    return ["|".join(group) for group in groups if group]


def _cased(phrases: Iterable[str]) -> Iterator[str]:
    yield from dict.fromkeys(form for p in phrases for form in (p, p[0].upper() + p[1:]))


def _words(phrases: Iterable[str]) -> Iterator[str]:
    """Phrases in Latin script as whole words."""
    boundary = r"(?-u:\b)"
    for phrase in _cased(phrases):
        first, last = phrase.lstrip("(?:")[0], phrase.rstrip("+?)]")[-1]
        right = boundary if last.isascii() and last.isalnum() else ""
        yield (boundary if first.isascii() else "") + phrase + right
