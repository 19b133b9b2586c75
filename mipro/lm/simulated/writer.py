"""Writing about a task: observations, summaries, descriptions, and instructions.

An instruction is composed of clauses taken from what the LM was shown: a data summary, the role of
the module, demonstrations, the best of earlier instructions. Shown nothing, it writes empty talk.
The tip and the temperature decide how much of it gets in:

    a clause is left out with probability LEFT_OUT + PER_DEGREE · temperature (halved by a tip to
    be descriptive, doubled by one to be creative); a tip to be simple keeps two clauses; and with
    probability MISLED · temperature a clause is added that leads astray.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from random import Random

from mipro import strict
from mipro.lm.simulated.language import cues_in
from mipro.lm.simulated.notice import LARGEST, Row, bridging, findings, rows_in
from mipro.lm.simulated.reader import Task, items

LEFT_OUT, PER_DEGREE, MISLED = 0.1, 0.25, 0.25
COMPLETE = "COMPLETE"

_EMPTY_TALK = (
    "Think about it carefully and do your best",
    "Take your time and be accurate",
    "Work diligently and pay attention to detail",
    "Consider everything before you reply",
)
_BRIDGE = (
    "Once the context holds passages, look up the intermediate entity named in the context "
    "rather than the question's own"
)
_GROUNDED = "Take the answer from the passages"
_SHORT = "Give only the name or number, no sentence"
_CLAUSES = re.compile(r"(?:[.;] |[.;]?\n|[.;]$)")

Writer = Callable[[Mapping[str, str], Random, float], str]


def observations(shown: Mapping[str, str], rng: Random, temperature: float) -> str:
    """What is new in this batch of rows; COMPLETE if nothing is."""
    said = shown.get("observations_so_far", "").lower()
    fresh = [
        sentence
        for sentence in findings(rows_in(shown.get("examples", ""))).values()
        if _topic(sentence) not in said
    ]
    return ". ".join(fresh) + "." if fresh else COMPLETE


def _topic(sentence: str) -> str:
    """A sentence up to its first number or style: what it is about."""
    return re.split(r" is written| about |: ", sentence)[0].lower()


def summary(shown: Mapping[str, str], rng: Random, temperature: float) -> str:
    """All observations in three sentences: on labels, on style, on the rest."""
    said = [c for item in items(shown.get("observations", "")) for c in clauses(item)]
    unique = list({_topic(clause): clause for clause in said}.values())
    groups: dict[str, list[str]] = {"labels": [], "style": [], "rest": []}
    for clause in unique:
        about = "labels" if "about " in clause or "labels" in clause else "rest"
        groups["style" if "is written" in clause else about].append(clause)
    return " ".join("; ".join(group) + "." for group in groups.values() if group) or (
        "The rows show nothing in common."
    )


def program_description(shown: Mapping[str, str], rng: Random, temperature: float) -> str:
    """What the source says the program does."""
    code = shown.get("program_code", "")
    doc = re.search(r'"""(.+?)"""', code, re.DOTALL)
    text = f"The program's purpose: {' '.join(doc.group(1).split())}" if doc else "A program."
    if _retrieves(code):
        text += (
            " It looks passages up by a query and reads them; a later query depends on what the "
            "earlier passages say."
        )
    return text


def module_role(shown: Mapping[str, str], rng: Random, temperature: float) -> str:
    """What a module is for, from the program's source and the module's own fields."""
    module, code = shown.get("module", ""), shown.get("program_code", "")
    if "query" in module.partition("->")[2]:
        again = f" {_BRIDGE}." if _retrieves(code) else ""
        return f"It writes the query by which passages are looked up.{again}"
    grounded = f" {_GROUNDED}." if re.search(r"context|passage", module) else ""
    return f"It gives the program's result.{grounded}"


def _retrieves(code: str) -> bool:
    return bool(re.search(r"retrieve|search\(", code)) and bool(
        re.search(r"\bfor\b|\bwhile\b", code)
    )


def proposed_instruction(shown: Mapping[str, str], rng: Random, temperature: float) -> str:
    """An instruction for the module, from whatever evidence was shown."""
    module, tip = shown.get("module", ""), shown.get("tip", "").lower()
    inputs, _, outputs = module.partition("->")
    querying = "query" in outputs
    pool = list(dict.fromkeys(c for c in _evidence(shown) if _fits(c, querying)))
    drop = LEFT_OUT + PER_DEGREE * temperature
    drop *= 0.5 if "descript" in tip else 2.0 if "creative" in tip else 1.0
    kept = [clause for clause in pool if rng.random() >= drop]
    if "creative" in tip:
        rng.shuffle(kept)
    if "simple" in tip:
        kept = kept[:2]
    if rng.random() < MISLED * temperature:
        kept.insert(0, _astray(inputs, querying, rng))
    if not kept:
        kept = rng.sample(_EMPTY_TALK, 2)
    return " ".join(f"{part}." for part in [_opening(outputs, tip, rng), *kept, *_closing(tip)])


def _opening(outputs: str, tip: str, rng: Random) -> str:
    fields = re.sub(r"\[.*?\]", "", outputs).split(",")  # types may hold commas
    names = [field.partition(":")[0].strip() for field in fields]
    wanted = " and ".join(f"`{name}`" for name in names if name not in ("", "reasoning"))
    text = f"{rng.choice(('Work out', 'Determine', 'Give', 'Produce'))} {wanted or 'the result'}"
    return f"You are an expert at this task. {text}" if "persona" in tip else text


def _closing(tip: str) -> list[str]:
    return ["A great deal depends on your getting this right"] if "stake" in tip else []


def _evidence(shown: Mapping[str, str]) -> list[str]:
    """Clauses from all the evidence, the best earlier instruction's first."""
    found: list[str] = []
    for text in (_best_so_far(shown.get("history", "")), shown.get("dataset_summary", "")):
        found += clauses(text)
    found += [c for c in clauses(shown.get("module_role", "")) if cues_in(c)]
    rows = rows_in(shown.get("demos", ""))
    found += list(findings(rows).values())
    if rows and bridging(rows):
        found.append(_BRIDGE)
    if rows and _brief(rows):
        found.append(_SHORT)
    return found


def _brief(rows: list[Row]) -> bool:
    return all(len(row.wanted.split()) <= 4 for row in rows)


def _best_so_far(history: str) -> str:
    """The best-scored instruction among `{"instruction": …, "score": …}` lines, "" if none."""
    best, text = float("-inf"), ""
    for item in items(history):
        try:
            body = strict.loads(item)
        except ValueError:
            continue
        score = body.get("score") if isinstance(body, dict) else None
        if isinstance(score, (int, float)) and best < score < LARGEST:
            best, text = float(score), str(body.get("instruction", ""))
    # its opening is not evidence
    return " ".join(f"{clause}." for clause in clauses(text)[1:])


def clauses(text: str) -> list[str]:
    """A text cut at full stops and semicolons, white space folded."""
    return [" ".join(part.split()).rstrip(".") for part in _CLAUSES.split(text) if part.strip()]


def _fits(clause: str, querying: bool) -> bool:
    """Bridging belongs to a module that queries, all other advice to one that answers."""
    return ("bridge" in cues_in(clause)) == querying


def _astray(inputs: str, querying: bool, rng: Random) -> str:
    if querying:
        return "Repeat the question's own words"
    numeric = re.findall(r"(?<!\w)(\w++): (?:float|int)", inputs)
    if numeric:
        return f"Look at {rng.choice(numeric)} first"
    return "Reply in a full sentence"


WRITERS: Mapping[str, Writer] = {
    "observations": observations,
    "summary": summary,
    "program_description": program_description,
    "module_role": module_role,
    "proposed_instruction": proposed_instruction,
}


def writer_for(task: Task) -> tuple[str, Writer] | None:
    """The field to write and how, if the prompt asks for writing about a task."""
    last = task.outputs[-1].name
    about_task = {"examples", "observations", "program_code", "module"} & set(task.inputs)
    return (last, WRITERS[last]) if last in WRITERS and about_task else None
