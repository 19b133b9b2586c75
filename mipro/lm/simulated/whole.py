"""Writing the instructions of a whole program in one reply.

Each module's is written as if asked for alone (`writer.proposed_instruction`), from the same
evidence: what is said of it among the roles and the demonstrations, and of the history the
instruction it has in each program. The embedded LM gains nothing from seeing all modules together,
and loses nothing by writing so much at once; a real one may do either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random

from mipro import strict
from mipro.lm.simulated.reader import Task, items
from mipro.lm.simulated.writer import proposed_instruction

ASKED = "instruction_"


def is_whole(task: Task) -> bool:
    """Does the prompt ask for one instruction a module, all in one reply?"""
    numbered = [f"{ASKED}{i}" for i in range(1, len(task.outputs) + 1)]
    return "modules" in task.inputs and [asked.name for asked in task.outputs] == numbered


def instructions(shown: Mapping[str, str], rng: Random, temperature: float) -> dict[str, str]:
    """Field → instruction, for each line of `modules`."""
    texts = {}
    for number, line in enumerate(items(shown.get("modules", "")), 1):
        name = line.partition(": ")[0]
        alone = {
            **shown,
            "module": line,
            "module_role": " ".join(_of(name, shown.get("module_roles", ""))),
            "demos": _listed(_of(name, shown.get("demos", ""))),
            "history": _listed(_history(name, shown.get("history", ""))),
        }
        texts[f"{ASKED}{number}"] = proposed_instruction(alone, rng, temperature)
    return texts


def _of(name: str, text: str) -> list[str]:
    """What the items of a list say of one module."""
    parts = (item.partition(" · ") for item in items(text))
    return [said for module, _, said in parts if module == name]


def _history(name: str, text: str) -> list[str]:
    """The history of one module, from that of whole programs."""
    found = []
    for item in items(text):
        try:
            body = strict.loads(item)
        except ValueError:
            continue
        said = body.get("instructions") if isinstance(body, dict) else None
        if isinstance(said, dict) and name in said:
            found.append(json.dumps({"instruction": said[name], "score": body.get("score")}))
    return found


def _listed(texts: list[str]) -> str:
    """As a prompt shows a list."""
    return "\n".join(f"[{i}] {text}" for i, text in enumerate(texts, 1))
