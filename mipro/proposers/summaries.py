"""Texts about a task, each written once by the prompt LM: of the data, the program, its modules.

The dataset summary goes as in the paper: look at the data batch by batch, add observations, stop
when COMPLETE has been said often enough, condense what was seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mipro.data import Example
from mipro.lm.base import LM
from mipro.lm.tokens import estimate_tokens
from mipro.programs import types
from mipro.programs.program import Program
from mipro.programs.signature import Field, Signature
from mipro.proposers.ask import ask, fitted, fitted_list
from mipro.proposers.source import module_line, outline, source_of

COMPLETE = "COMPLETE"
ATTEMPTS = 3  # a reply that cannot be read is asked for again this often

OBSERVE = Signature(
    (
        Field("examples", list[str], "rows of a data set, inputs and the outputs wanted"),
        Field("observations_so_far", str, "what was observed in earlier rows"),
    ),
    (Field("observations", str, "what these rows add, in a few sentences"),),
    "Look at these rows of a data set for a language-model task. Observe what holds for many of "
    "them: topics, what the inputs and the outputs look like, rules that the outputs follow. "
    "Observe only what is new against the observations so far; if there is nothing new, reply "
    f"with the one word {COMPLETE}.",
)

CONDENSE = Signature(
    (Field("observations", list[str], "observations on a data set, batch by batch"),),
    (Field("summary", str, "two or three sentences"),),
    "Condense these observations into a summary of two or three sentences that keeps every rule "
    "and every fact that somebody solving the task would need.",
)

DESCRIBE_PROGRAM = Signature(
    (
        Field("program_code", str, "the program's source"),
        Field("program_modules", list[str], "its language-model modules and their fields"),
    ),
    (Field("program_description", str, "what it does and how, in a few sentences"),),
    "This program solves a task by calling language-model modules. Describe what the task is and "
    "how the program goes about it.",
)

DESCRIBE_MODULE = Signature(
    (
        Field("program_code", str, "the program's source"),
        Field("program_description", str, "what the program does"),
        Field("module", str, "the module in question: its name, then inputs -> outputs"),
        Field("position", str, "where it stands among the program's modules"),
    ),
    (Field("module_role", str, "the module's part in the whole, in a sentence or two"),),
    "Describe the part that this one module has in the program: what it is given, what the rest "
    "of the program needs of it.",
)


@dataclass(frozen=True)
class Written:
    """A text, or why there is none; `calls` is what it took."""

    text: str
    calls: int
    error: str | None = None


def row(inputs: Mapping[str, object], outputs: Mapping[str, object], tokens: int) -> str:
    """One row of data as the proposer's prompts show it, in about `tokens` tokens.

    Of a row too long the values are cut: however long its inputs, the outputs are seen.
    """
    whole = _row(inputs, outputs)
    if estimate_tokens(whole) <= tokens:
        return whole
    # a third is left for names, marks and escapes
    share = max(16, tokens * 2 // 3 // max(1, len(inputs) + len(outputs)))
    short = ({n: _short(v, share) for n, v in side.items()} for side in (inputs, outputs))
    return _row(*short)


def _row(inputs: Mapping[str, object], outputs: Mapping[str, object]) -> str:
    shown = {"inputs": dict(inputs), "outputs": dict(outputs)}
    return json.dumps(shown, ensure_ascii=False, default=str)


def _short(value: object, tokens: int) -> object:
    if isinstance(value, str):
        return fitted(value, tokens)
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return fitted_list(value, tokens)
    return value


def summarize_dataset(
    examples: Sequence[Example],
    lm: LM,
    *,
    batch: int = 10,
    max_batches: int = 10,
    enough: int = 3,
    tokens: int = 8_000,
) -> Written:
    """Observe at most `max_batches` batches, until COMPLETE is said `enough` times; condense.

    A batch whose reply cannot be read is passed over. Where no summary comes of it, the error
    says why. Rows are cut so that a prompt has about `tokens` tokens.
    """
    observed: list[str] = []
    complete = calls = 0
    failure = "nothing was observed in the data"
    starts = range(0, len(examples), batch)[:max_batches]
    room = tokens * 3 // 4
    for start in starts:
        rows = [row(e.inputs, e.labels, room // batch) for e in examples[start : start + batch]]
        run = ask(
            OBSERVE,
            lm,
            examples=fitted_list(rows, room),
            observations_so_far=fitted(" ".join(observed), tokens // 4) or "(none)",
        )
        calls += 1
        if run.prediction is None:
            failure = str(run.error)
            continue
        text = str(run.prediction.observations)
        if text.strip().strip(".").upper() == COMPLETE:
            complete += 1
        else:
            observed.append(text)
        if complete >= enough:
            break
    if not observed:
        return Written("", calls, f"dataset summary: {failure}")
    condensed = _written(CONDENSE, lm, "summary", observations=fitted_list(observed, tokens))
    return Written(condensed.text, calls + condensed.calls, condensed.error)


def describe_program(program: Program, lm: LM, *, tokens: int = 8_000) -> Written:
    """What the program does, from its source. Without source: from its modules, and so noted."""
    code, note = source_of(program)
    written = _written(
        DESCRIBE_PROGRAM,
        lm,
        "program_description",
        program_code=fitted(code, tokens),
        program_modules=outline(program),
    )
    return Written(written.text, written.calls, written.error or note)


def describe_module(
    program: Program, module: str, description: str, lm: LM, *, tokens: int = 8_000
) -> Written:
    """The part of `module` in the program."""
    return _written(
        DESCRIBE_MODULE,
        lm,
        "module_role",
        program_code=fitted(source_of(program)[0], tokens * 3 // 4),
        program_description=fitted(description, tokens // 4) or "(none)",
        module=module_line(program, module),
        position=position(program, module),
    )


def _written(signature: Signature, lm: LM, name: str, **inputs: object) -> Written:
    error = ""
    for attempt in range(ATTEMPTS):
        temperature = 0.7 if attempt else 0.0  # at 0 the same reply would come again
        run = ask(signature, lm, temperature=temperature, rollout=attempt, **inputs)
        if run.prediction is not None:
            return Written(str(run.prediction[name]), attempt + 1)
        error = str(run.error)
    return Written("", ATTEMPTS, f"{name}: {error}")


def field_lines(program: Program, module: str) -> list[str]:
    """Each field of a module: which side, what it may hold, and what its author says of it."""
    signature = program.modules()[module].signature
    sides = [("input", f) for f in signature.inputs] + [("output", f) for f in signature.outputs]
    return [
        f"{field.name} ({side}, {types.constraint(field.type)})"
        + (f": {field.description}" if field.description else "")
        for side, field in sides
    ]


def position(program: Program, module: str) -> str:
    """Where a module stands: two with the same fields are told apart by it."""
    names = list(program.modules())
    others = ", ".join(name for name in names if name != module) or "none"
    return f"module {names.index(module) + 1} of {len(names)}; the others: {others}"
