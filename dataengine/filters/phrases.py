"""Words and phrases that are counted in replies, as patterns in the syntax of Rust's `regex`.

Each is found as written and with a capital first letter. Up to some 60 beginnings are searched for at the speed of
memory, more several times slower: hence the groups that make a pattern each.
"""

from collections.abc import Mapping
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
        *("attend(?:s|ez)", "un instant", "laissez?-moi"),
        *("à la réflexion", "vérifions", "revérifions", "je (?:re)?vérifie"),
    ),
    "es": (
        *("esper[ae],", "un momento", "verifiquemos", "comprobemos", "pensándolo bien"),
        *(f"{let} (?:comprobar|verificar|revisar|pensar|ver si)" for let in ("dejame", "déjame")),
    ),
    "pt": (
        *("um momento", "pensando bem", "vamos (?:verificar|conferir|checar)"),
        "deix[ae](?:-me| eu) (?:verificar|conferir|checar|pensar|rever)",
    ),
    "it": (
        *("aspetta(?:te)?", "un attimo", "ripensandoci", "in alternativa", "verifichiamo"),
        *(f"{let} (?:controllare|verificare|pensare)" for let in ("fammi", "lasciami")),
    ),
    "ru": (
        *("подожди(?:те)?", "погоди(?:те)?", "стоп", "хм+", "проверим", "перепровер[а-я]+", "с другой стороны"),
        *("давай(?:те)? (?:ещё раз )?провер[а-я]+", "если подумать"),
    ),
    "ar": (
        *("انتظر", "لحظة", "مهلاً?", "هم{2,}", "لنتحقق", "لنتأكد", "بدلاً من ذلك"),
        *("دعني (?:أتحقق|أتأكد|أراجع|أفكر|أعيد)", "دعونا (?:نتحقق|نتأكد|نراجع)"),
    ),
    "hi": (
        *("रुको", "रुकिए", "ठहरो", "ठहरिए", "एक मिनट", "हम्म"),
        *("(?:दोबारा|फिर से) (?:जाँच|जांच|सोच|देख|गणना)", "मुझे (?:जाँच|जांच)(?:ना|ने)?", "(?:जाँच|जांच) (?:लेते|करते|लें)"),
    ),
    "zh": (
        *("等等[，,！…。]", "等一下", "等下[，,]", "稍等", "不对[，,。！]", "验算", "检验一下", "仔细想想", "再想想"),
        *(
            "让我(?:们)?(?:再|重新|来)?(?:检查|验证|确认|核对|核实|想想|思考|看看|算一?遍)",
            "再(?:检查|验证|确认|核对|算一?遍)",
        ),
        *("重新(?:检查|验证|考虑|思考|审视|计算|算)", "换(?:个|一个|一种)(?:角度|思路|方法)", "另一种(?:方法|思路)"),
    ),
    "ja": (
        *("待って", "待てよ", "検算", "うーん", "ふむ", "考え直", "見直して", "確かめて", "確かめよう", "確認してみ"),
        *("(?:もう一度|再度|念のため)[、]?(?:考え|確認|確かめ|計算)", "別の(?:方法|やり方|考え方)"),
    ),
    "ko": (
        *("잠깐", "잠시만", "흠", "음[,.…]", "검산", "확인해 ?보", "다른 방법"),
        *("다시 (?:한번 )?(?:확인|생각|계산|검토)",),
    ),
}

#: A writer as "I". Languages that leave the pronoun out have none to count.
SINGULAR: Final[Phrases] = {
    "en": ("I",),
    "de": ("ich",),
    "fr": ("je",),
    "ru": ("я",),
    "hi": ("मैं", "मैंने", "मुझे"),
    "zh": ("我[^们們]",),
    "ja": ("私[^た達]", "僕[^たら]", "俺[^た達]"),
    "ko": ("나는", "내가", "저는", "제가"),
}
#: ... and as "we".
PLURAL: Final[Phrases] = {
    "en": ("we", "let['’]s", "let us"),
    "de": ("wir",),
    "fr": ("nous",),
    "ru": ("мы",),
    "hi": ("हम", "हमने", "हमें"),
    "zh": ("我们", "我們", "咱们"),
    "ja": ("私たち", "私達", "僕たち", "俺たち", "我々"),
    "ko": ("우리",),
}

#: A step that says so, by its number (all in Latin letters are searched for together).
STEP: Final[Phrases] = {
    "en": ("step [0-9]+", "schritt [0-9]+", "paso [0-9]+", "passo [0-9]+", "passaggio [0-9]+"),
    "fr": ("étape [0-9]+",),
    "ru": ("шаг [0-9]+",),
    "ar": ("الخطوة",),
    "hi": ("चरण [0-9]+",),
    "zh": ("第[一二三四五六七八九十0-9]{1,3}步", "步骤[ ：:]?[一二三四五六七八九十0-9]"),
    "ja": ("ステップ ?[0-9]+", "手順 ?[0-9]+"),
    "ko": ("[0-9] ?단계", "단계 [0-9]+"),
}

_LATIN = ("de", "fr", "es", "pt", "it")
_SPACED = ("ru", "ar", "hi")
_UNSPACED = ("zh", "ja", "ko")


def patterns(phrases: Phrases, *, plain: bool) -> list[str]:
    """The patterns for phrases; with `plain` only those for what text of ASCII alone may hold."""
    english = {"en": phrases["en"]}
    latin = {language: phrases.get(language, ()) for language in _LATIN}
    ascii = {language: tuple(p for p in known if p.isascii()) for language, known in latin.items()}
    if plain:
        return _patterns(english, ascii)
    accented = {language: tuple(p for p in known if not p.isascii()) for language, known in latin.items()}
    others = (
        {language: phrases[language] for language in group if language in phrases} for group in (_SPACED, _UNSPACED)
    )
    return _patterns(english, ascii, accented, *others)


def _patterns(*groups: Phrases) -> list[str]:
    found = []
    for group in groups:
        cased = [(name, form) for name, phrases in group.items() for p in phrases for form in (p, p[0].upper() + p[1:])]
        found.append("|".join(dict.fromkeys(_whole(form, name) for name, form in cased)))
    return [pattern for pattern in found if pattern]


def _whole(phrase: str, language: str) -> str:
    """A phrase as whole words, in scripts with spaces.

    Unicode's word boundary costs more than that of ASCII, which serves Latin script but for words that begin with
    another letter.
    """
    if language in _UNSPACED:
        return phrase
    if language in _SPACED:
        return rf"\b{phrase}\b"
    mark = r"(?-u:\b)"
    first, last = phrase.lstrip("(?:")[0], phrase.rstrip("+?)]")[-1]
    return (mark if first.isascii() else "") + phrase + (mark if last.isascii() and last.isalnum() else "")
