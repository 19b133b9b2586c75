"""What the embedded LM makes of English: words, names, kinds of answer, styles of writing, cues.

A *cue* is a phrase in an instruction that changes what the LM does. The lists below are all it
understands; a sentence that holds none of them is empty talk to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

_COMMON = """
a an and are as at be by did do does for from has have how in is it its of on or she he that the
their they this to was were what when where which who whose with year lies much many called title
"""
_CAPITAL = """
It Its The She He They In On At Which Who What When Where How A An And Of For If Answer Give This
That There Write
"""
STOP = frozenset(_COMMON.split())
_OPENERS = frozenset(_CAPITAL.split())  # capitals that open a sentence, and are no names
_WORD = re.compile(r"[a-z0-9]+")
_NAME = re.compile(r"[A-Z][\w']*(?: [A-Z][\w']*)*")
DATE = re.compile(r"\b\d{1,2} [A-Z][a-z]+ \d{4}\b")
NUMBER = re.compile(r"\b\d+\b")

# --- kinds of answer, by the question's words: the first pattern that matches decides ------------
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("number", re.compile(r"\bhow many\b", re.I)),
    ("date", re.compile(r"\b(when|what year|which year)\b", re.I)),
    ("organisation", re.compile(r"\b(which|what) (company|organi[sz]ation|firm|club)\b", re.I)),
    (
        "work",
        re.compile(
            r"^(?>.*?\b(?:title|anthem|novel|song|book|film)\b).*\b(?:called|title)\b",
            re.I | re.MULTILINE,
        ),
    ),
    ("person", re.compile(r"\b(who|whom|whose)\b", re.I)),
    ("place", re.compile(r"\b(where|(which|what) (town|city|river|province|country))\b", re.I)),
)
KINDS = ("person", "place", "date", "number", "organisation", "work")


def kind_of(question: str) -> str:
    """The kind of answer a question asks for; "other" where no pattern matches."""
    return next((kind for kind, pattern in _KINDS if pattern.search(question)), "other")


# --- styles an answer may be written in ----------------------------------------------------------
STYLE_PHRASES: Mapping[str, str] = {
    "lower": "in lower case",
    "upper": "in capital letters",
    "peace": 'ending with "Peace!"',
    "brackets": "in square brackets",
    "quotes": "in double quotes",
    "hyphens": "with hyphens for spaces",
}
_STYLE_CUES = {
    "lower": re.compile(r"lower[- ]?case", re.I),
    "upper": re.compile(r"capital letters|upper[- ]?case|all[- ]caps", re.I),
    "peace": re.compile(r"peace!", re.I),
    "brackets": re.compile(r"square brackets", re.I),
    "quotes": re.compile(r"double quotes|quotation marks", re.I),
    "hyphens": re.compile(r"hyphen", re.I),
}


def styled(text: str, style: str) -> str:
    """Write `text` in `style`."""
    if style == "lower":
        return text.lower()
    if style == "upper":
        return text.upper()
    if style == "peace":
        return f"{text} Peace!"
    if style == "brackets":
        return f"[{text}]"
    if style == "quotes":
        return f'"{text}"'
    if style == "hyphens":
        return text.replace(" ", "-")
    return text


def style_of(answer: str) -> str:
    """The style an answer is written in; "plain" where none of the known ones shows."""
    if answer.endswith("Peace!"):
        return "peace"
    if len(answer) > 2 and answer[0] == "[" and answer[-1] == "]":
        return "brackets"
    if len(answer) > 2 and answer[0] == answer[-1] == '"':
        return "quotes"
    if "-" in answer and " " not in answer:
        return "hyphens"
    if any(char.isalpha() for char in answer):
        if answer == answer.lower():
            return "lower"
        if answer == answer.upper():
            return "upper"
    return "plain"


def rules_in(text: str) -> dict[str, str]:
    """Kind → style, for each clause of `text` that names one of each. The first rule stands."""
    rules: dict[str, str] = {}
    for clause in re.split(r"[.;\n]", text):
        style = next((s for s, cue in _STYLE_CUES.items() if cue.search(clause)), None)
        kinds = [kind for kind in KINDS if re.search(rf"\b{kind}\b", clause, re.I)]
        if style and len(kinds) == 1:
            rules.setdefault(kinds[0], style)
    return rules


# --- other cues ----------------------------------------------------------------------------------
_CUES: Mapping[str, re.Pattern[str]] = {
    "bridge": re.compile(
        r"intermediate|bridg|in-between|(named|found|mentioned) in the (context|passages)", re.I
    ),
    "short": re.compile(
        r"only the (name|answer)|few words|a short|as short|no (full )?sentence|just the name", re.I
    ),
    "grounded": re.compile(
        r"(only |solely )?from the (context|passages?)\b|what .* passages? say", re.I
    ),
    "sentence": re.compile(r"(?<!no )(?<!not a )full sentence", re.I),
}


@lru_cache(maxsize=4096)
def cues_in(instruction: str) -> frozenset[str]:
    """The cues an instruction holds: "bridge", "short", "grounded", "sentence"."""
    return frozenset(cue for cue, pattern in _CUES.items() if pattern.search(instruction))


def named_in(instruction: str, fields: tuple[str, ...]) -> tuple[str, ...]:
    """The fields an instruction names, with underscores or with spaces, one or several."""
    return tuple(
        f
        for f in fields
        if re.search(rf"\b{re.escape(f).replace('_', '[_ ]')}s?\b", instruction, re.I)
    )


@lru_cache(maxsize=65536)
def words(text: str) -> tuple[str, ...]:
    """Content words, lower case, in order, without the commonest."""
    return tuple(word for word in _WORD.findall(text.lower()) if word not in STOP)


def stems(text: str) -> frozenset[str]:
    """The first four letters of each content word: all the morphology it knows."""
    return frozenset(word[:4] for word in words(text))


@lru_cache(maxsize=65536)
def names(text: str) -> tuple[str, ...]:
    """Proper names, in order, each once; a word that opens a sentence is no name for that."""
    found: dict[str, None] = {}
    for match in _NAME.finditer(text):
        parts = match.group().split(" ")
        while parts and parts[0] in _OPENERS:
            parts = parts[1:]
        if parts:
            found[" ".join(parts)] = None
    return tuple(found)


def dilution(instruction: str) -> float:
    """How much a long instruction costs, in logits: nothing up to 120 words, 0.01 a word beyond."""
    return 0.01 * max(0, len(instruction.split()) - 120)
