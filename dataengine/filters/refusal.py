"""Checks that a reply is no refusal: "I'm sorry, but I can't help with that" in the languages replies come in."""

import re
from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.composing import Composed, composed
from dataengine.filters.settings import changed, share
from dataengine.filters.texts import screened
from dataengine.verify.extract import visible

#: Characters at the start of an answer that are read; one of `SHORT` characters or fewer is read whole.
OPENING = 300
SHORT = 600
#: A refusal weighs full up to this many characters after it, then ever less: what follows is help.
AFTER = 500
AFTER_DENSE = 200  # Chinese, Japanese and Korean say as much in so many
#: What a remark weighs that says only what the writer is.
REMARK = 0.4

_VERBS = (
    "assist|help|provide|give|share|offer|support|comply|fulfill?|answer|discuss|create|generate|write|produce|engage|"
    "participate|advise|condone|promote|encourage|endorse|disclose|reveal|tell you|teach|guide|facilitate|advocate|"
    "respond|speculate|browse|access|recall|do that|do this|do so|go into|talk about|make|express|be part|reproduce|"
    "suggest|spread|show|display|direct|continue|look up|find out|identify|confirm|locate|"
    "have (?:personal|opinions|feelings|beliefs)"
)
_NOT_TO = (
    "can't|cannot|can not|won't|will not|wouldn't|would not|shouldn't|should not|decline to|"
    "refuse to|unable to|not able to|not going to|not allowed to|not permitted to|not in a position to|not willing to|"
    "not designed to|not programmed to|not comfortable|don't feel comfortable|"
    "(?:don't|do not) have (?:the |any )?(?:ability|capability|capacity|permission) to"
)


class Language(NamedTuple):
    """The phrases of one language, by name: refusals, and a remark of what the writer is.

    A text that holds one of them also holds the `screen` (Rust's syntax).
    """

    screen: str
    refusals: dict[str, str]
    remark: str


LANGUAGES: dict[str, Language] = {
    "en": Language(
        rf"(?i){_NOT_TO}|sorry|afraid|apologi|not something|not a (?:topic|subject|request)|not anything|decline"
        r"|against my|not allowed|rather not|prefer not|don't want|as an? "
        "|I am (?:just|only|not)|I'm (?:just|only|not)|are not|re not",
        {
            "cannot": r"\bI(?:'m| am|'d| would| have| must| do| will)?(?: \w+ly,?| just| still| also| have to)? ?"
            rf"(?:{_NOT_TO})(?: \w+ly| be able to| in good conscience| or)?,? "
            rf"(?:(?:{_VERBS})\b|(?:provid|help|assist|giv|shar|do|discuss|writ|answer|talk|mak|creat|engag)\w*ing\b)"
            r"(?! but\b| feeling| wondering| thinking| myself\b)",
            "sorry": r"\b(?:(?:I|we)(?:'m|'re| am| are| do)? )?(?:\w+ly |so |very )?(?:sorry|afraid|apologi[sz]e)\b"
            r"[^.!?:\n]{0,50}?\bI(?:'m| am| do)?(?: \w+ly)? ?"
            r"(?:can't|cannot|can not|won't|will not|unable to|not able to|not allowed to|"
            r"(?:don't|do not) (?:know how to (?:help|do)|think I (?:can|should)|"
            r"have (?:the |any |enough |that |direct )?"
            r"(?:access|ability|capability|permission|information|data|answers)))\b"
            r"(?! (?:be able to )?(?:come|go|attend|join|meet|make it|be there|help but|agree|keep|understand|hear)\b)",
            "not_something": r"\bnot (?:something|a (?:topic|subject|request)|anything) (?:that |which )?I(?:'m| am)?"
            r" (?:can|could|will|would|want to|able|willing|comfortable|allowed|should)\b"
            r"|\b(?:(?:I|we) )?(?:can't|cannot) (?:assist|help)(?: you)? with (?:that|this)\b"
            r"|\bI must (?:respectfully |politely )?decline\b|\bI(?:'d| would) (?:rather|prefer) not\b"
            r"|\b(?:I'm|I am|we're|we are) not (?:comfortable|willing|allowed)\b"
            r"|\bagainst my (?:rules|programming|guidelines|policy|policies|principles)\b"
            r"|\bI don't (?:feel comfortable|want to (?:help|answer|talk))",
        },
        r"\bas an? (?:\w+ )?(?:AI|artificial intelligence|language model)\b"
        r"(?! (?:expert|engineer|researcher|student|company|community|professional|practitioner|specialist|tool|tech))"
        r"|\bI(?:'m| am) (?:just|only) an AI\b",
    ),
    "zh": Language(
        "无法|不能|没办法|不便|拒绝|没有能力|没有权限|我不会|作为",
        {
            "cannot": r"(?:我(?![们国的])|抱歉|对不起|遗憾|不好意思|作为(?:一[个名款位])?"
            r"(?:AI|人工智能|语言模型|智能助手|助手))[^。！？\n]{0,25}?(?:无法|不能|没办法|不便|拒绝|没有能力|没有权限)[^。！？，\n]{0,8}?(?:提供|回答|协助|帮助|满足|完成|"
            r"生成|给出|讨论|支持|参与|分享|透露|告诉|执行|处理|访问|获取|进行|帮您|帮你)|我不会(?:协助|帮助|参与|回答|支持)",
            "request": r"(?:无法|不能)(?:满足|协助|回答|处理|完成)(?:您|你)的?(?:这个|该|此)?(?:请求|要求|问题)",
        },
        r"作为(?:一[个名款位])?(?:AI|人工智能|大?语言模型)(?!领域|技术|行业|产业|中的|的一)",
    ),
    "ja": Language(
        "ません|かね|できない|お断り|人工知能|言語モデル|AI",
        {
            "sorry": r"(?:申し訳|すみません|恐れ入りますが|残念ながら|ごめんなさい)[^。\n]{0,60}?"
            r"(?:できません|できかね|いたしかね|しかねます|できない|わかりかね|お断り|持っていません)",
            "cannot": r"(?:お答え|提供|お手伝い|回答|対応|ご案内|支援|協力|お力になること)(?:すること)?[はがをに]?"
            r"(?:できません|できかねます|いたしかねます|しかねます)",
        },
        r"(?:AI|人工知能|言語モデル)(?:アシスタント|言語モデル|モデル)?(?:として|なので|であるため)",
    ),
    "ko": Language(
        "죄송|미안|유감|안타깝|없|AI|인공지능",
        {
            "sorry": r"(?:죄송|미안|유감|안타깝)[^.!?\n]{0,60}?"
            r"(?:수 없|수는 없|못합니다|못해요|불가능|어렵습니다|어려워요|않습니다)",
            "cannot": r"(?:제공|도움|도와|답변|대답|지원|응답|협조)[^.!?\n]{0,10}(?:드릴|할|줄|될) 수(?:는|가)? 없",
        },
        r"(?:AI|인공지능)[^.!?\n]{0,12}?(?:로서|이기 때문|이므로)",
    ),
    "de": Language(
        "(?i)kann|darf|werde|möchte|bin|als (?:eine? )?(?:k|sprachmodell)",
        {
            "sorry": r"(?:tut mir (?:\w+ )?leid|entschuldigung|entschuldige|leider|ich bedauere?|verzeihung)\b"
            r"[^.!?\n]{0,60}?\b(?:kann|darf|werde|möchte|bin)\b[^.!?\n]{0,60}?"
            r"\b(?:nicht|keine?[nrms]?|nichts|außerstande)\b",
            "cannot": r"\bich (?:kann|darf|werde|möchte|bin)\b[^.!?\n]{0,40}?\b(?:nicht|keine?[nrms]?)\b[^.!?\n]{0,60}?"
            r"\b(?:helfen|weiterhelfen|behilflich|unterstützen|bereitstellen|anbieten|geben|nennen|liefern|erfüllen|"
            r"beantworten|teilen|erstellen|in der lage)\b",
        },
        r"\bals (?:eine? )?(?:KI|künstliche Intelligenz|(?:KI-)?Sprachmodell)\b",
    ),
    "fr": Language(
        "(?i)je ne|en tant qu",
        {
            "sorry": r"(?:désolée?|je regrette|malheureusement|navrée?|excusez-moi)\b[^.!?\n]{0,60}?"
            r"\bje ne (?:peux|puis|pourrai|suis pas|veux|dispose)\b",
            "cannot": r"\bje ne (?:(?:peux|puis|pourrai)(?: malheureusement)?(?: pas)?|"
            r"suis pas (?:en mesure|capable|autorisée?)) (?:de |d'|à )?(?:vous |te |t'|l'|y )?"
            r"(?:aider|fournir|répondre|donner|assister|partager|proposer|accéder|satisfaire|créer|générer|écrire|discuter)",
        },
        r"\ben tant qu(?:e |')(?:une? )?(?:IA|intelligence artificielle|modèle (?:de langage|linguistique))\b",
    ),
    "es": Language(
        "(?i)no (?:puedo|podr|estoy|me es|tengo|soy|debo)|como ",
        {
            "sorry": r"(?:lo siento|lo lamento|perdona|perdón|disculpa|disculpe|lamentablemente|desafortunadamente)\b"
            r"[^.!?\n]{0,60}?\bno (?:puedo|podré|podría|estoy|me es posible|tengo|soy capaz|debo)\b",
            "cannot": r"\bno (?:puedo|podré) (?:ayudar|proporcionar|ofrecer|responder|cumplir|dar|asistir|compartir|"
            r"crear|generar|brindar|participar|acceder|facilitar)",
        },
        r"\bcomo (?:una? )?(?:IA|inteligencia artificial|modelo de lenguaje)\b",
    ),
    "pt": Language(
        "(?i)não (?:posso|poderei|consigo|estou|tenho|sou|devo)|como ",
        {
            "sorry": r"(?:desculpe|desculpa|sinto muito|lamento|infelizmente|peço desculpas)\b[^.!?\n]{0,60}?"
            r"\bnão (?:posso|poderei|consigo|estou|tenho|sou capaz|devo)\b",
            "cannot": r"\bnão (?:posso|poderei) (?:ajud|fornec|oferec|respond|atend|dar|auxili|compartilh|criar|gerar|"
            r"particip)",
        },
        r"\bcomo (?:uma? )?(?:IA|inteligência artificial|modelo de linguagem)\b",
    ),
    "it": Language(
        "(?i)non (?:posso|sono|mi è|potrò)|come |in quanto ",
        {
            "sorry": r"(?:mi (?:di)?spiace|spiacente|scusa|scusi|purtroppo)\b[^.!?\n]{0,60}?"
            r"\bnon (?:posso|sono in grado|sono autorizzat|mi è possibile|potrò)",
            "cannot": r"\bnon (?:posso|sono in grado di) (?:aiutar|fornir|offrir|risponder|assister|dar|condivider|"
            r"crear|generar|soddisfar)",
        },
        r"\b(?:come|in quanto) (?:una? )?(?:IA|intelligenza artificiale|modello (?:linguistico|di linguaggio))\b",
    ),
    "ru": Language(
        "(?i)не (?:могу|смогу|имею|в состоянии|буду)|как ",
        {
            "sorry": r"(?:извините|простите|к сожалению|сожалею|мне (?:очень )?жаль|прошу прощения)\b[^.!?\n]{0,60}?"
            r"\bне (?:могу|смогу|имею возможности|в состоянии|буду)\b",
            "cannot": r"\bя не (?:могу|смогу|буду) (?:вам |тебе |вас |с этим )?(?:помо|предостав|ответ|отвеч|выполн|"
            r"дать|подел|созда|обсужд|давать|участв)",
        },
        r"\bкак (?:языковая модель|ИИ|искусственный интеллект)",
    ),
    "ar": Language(
        "لا (?:أ|ي)|لن أ|قادر|كنموذج|بصفتي",
        {
            "sorry": r"(?:آسف|أعتذر|عذر|معذرة|للأسف|نأسف)[^.!؟\n]{0,60}?"
            r"(?:لا (?:أستطيع|يمكنني|يمكننا|أقدر)|لن أ|غير قادر|لست قادر)",
            "cannot": r"لا (?:أستطيع|يمكنني) (?:مساعد|تقديم|الإجابة|المساعدة|توفير|تلبية|مشاركة|إعطا)",
        },
        r"(?:كنموذج|بصفتي) (?:لغ|نموذج|ذكاء)",
    ),
    "hi": Language(
        "नहीं|असमर्थ|मॉडल|सहायक",
        {
            "sorry": r"(?:क्षमा|माफ़|माफ|खेद)[^।.!?\n]{0,80}?(?:नहीं|असमर्थ)",
            "cannot": r"मैं[^।.!?\n]{0,60}?(?:सहायता|मदद|प्रदान|जानकारी|उत्तर)[^।.!?\n]{0,20}?(?:नहीं[^।\n]{0,8}सकत|असमर्थ)",
        },
        r"(?:AI|एआई|कृत्रिम बुद्धिमत्ता) (?:भाषा )?(?:मॉडल|सहायक) के (?:रूप|नाते)",
    ),
}
_STRAIGHT = str.maketrans("’‘ʼ\u00a0\u202f", "'''  ")
_QUOTES = frozenset("\"'“„«「『`")


class Rule(NamedTuple):
    """A pattern of refusals, and what it weighs."""

    id: str
    language: str
    weight: float
    pattern: re.Pattern[str]


_RULES = {
    language: [
        *(
            Rule(f"{language}.{name}", language, 1.0, re.compile(p, re.IGNORECASE))
            for name, p in known.refusals.items()
        ),
        Rule(f"{language}.remark", language, REMARK, re.compile(known.remark, re.IGNORECASE)),
    ]
    for language, known in LANGUAGES.items()
}


class RefusalCheck(Filter):
    """Passes when the answer, which is what stands after the reasoning, is no refusal: a score under `threshold` (0.5).

    Looked for are phrases in twelve languages in the first 300 characters of the answer, or in all of it up to 600. The
    score is 1.0 for a refusal and 0.4 for no more than "as an AI language model". Where over 500 characters follow (200
    in Chinese, Japanese, Korean) it falls in proportion: who declines one thing and then helps at length has not
    refused. 0.0 is no such phrase. `details` holds the `pattern`, its `language` and its `span`, offsets in characters
    of `sample.text` (none where the answer does not stand in that). Reasoning, which doubts and apologises, is never
    looked at. Without an answer it is undecided.
    """

    name: ClassVar[str] = "refusal"
    RULES: ClassVar[str] = "2"

    def __init__(self, *, threshold: float = 0.5) -> None:
        given = {"threshold": share("threshold", threshold)}
        if not threshold:
            raise ValueError("threshold is 0; it must be above, or every answer is a refusal")
        super().__init__(**changed(type(self).__init__, given))
        self.threshold = threshold

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        return self([sample])[0]

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        answers = [visible(s.answer, s.text).strip() for s in samples]
        forms = [composed(answer) for answer in answers]
        read = [opening(form.text if form else answer) for form, answer in zip(forms, answers, strict=True)]
        maybe: list[list[str]] = [[] for _ in samples]
        for language, hits in zip(
            LANGUAGES, screened(read, [known.screen for known in LANGUAGES.values()]), strict=True
        ):
            for index in hits:
                maybe[index].append(language)
        return [
            self._told(sample, answer, form, refused(text, languages) if languages else None)
            for sample, answer, form, text, languages in zip(samples, answers, forms, read, maybe, strict=True)
        ]

    def _told(self, sample: Sample, answer: str, form: Composed | None, hit: tuple[Rule, int, int] | None) -> Opinion:
        if not answer:
            return Opinion("undecided", reason="no_answer")
        if hit is None:
            return Opinion("pass", 0.0)
        rule, start, end = hit
        full = AFTER_DENSE if rule.language in ("zh", "ja", "ko") else AFTER
        length = len(form.text if form else answer)
        score = round(rule.weight * min(1.0, full / max(1, length - end)), 4)
        details: dict[str, object] = {"pattern": rule.id, "language": rule.language}
        offset = sample.text.rfind(answer)
        if offset >= 0:
            start, end = form.span(start, end) if form else (start, end)
            details["span"] = [offset + start, offset + end]
        if score < self.threshold:
            return Opinion("pass", score, details=details)
        return Opinion("fail", score, "refusal", details)


def opening(answer: str) -> str:
    """The part of an answer that is read, of the same length as it stands there, with plain apostrophes and spaces."""
    return (answer if len(answer) <= SHORT else answer[:OPENING]).translate(_STRAIGHT)


def refused(text: str, languages: Iterable[str] = tuple(LANGUAGES)) -> tuple[Rule, int, int] | None:
    """The rule that fits the `opening` of an answer and where, the heaviest and then the first; None where none fits.

    >>> refused("Sorry, I can't help with that.")[0].id
    'en.sorry'
    >>> refused("Sorry, the sum is 7: we cannot divide by zero.")
    """
    found: list[tuple[float, int, Rule, int]] = []
    for rule in (rule for language in languages for rule in _RULES[language]):
        for m in rule.pattern.finditer(text):
            if text[: m.start()].rstrip()[-1:] not in _QUOTES:  # else somebody else says it
                found.append((-rule.weight, m.start(), rule, m.end()))
                break
    if not found:
        return None
    _, start, rule, end = min(found, key=lambda hit: hit[:2])
    return rule, start, end
