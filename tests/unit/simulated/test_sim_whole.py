"""Asked for all modules at once, the embedded LM writes each as it would alone."""

from __future__ import annotations

import json

from sim_prompts import CHAT, request

from mipro.lm.simulated import SimulatedLM
from mipro.lm.simulated.language import cues_in, rules_in
from mipro.programs.signature import Signature

MODULES = [
    "hops[0]: context: list[str], question -> reasoning, search_query",
    "answer: passage, question -> reasoning, answer",
]
BRIDGE = "Look up the intermediate entity named in the context"
RULE = "An answer that is a person is written in lower case"


def written(seed: int = 0, temperature: float = 0.0, **shown: object) -> list[str]:
    given = {"modules": MODULES, **shown}
    kinds = {name: "list[str]" if isinstance(v, list) else "str" for name, v in given.items()}
    inputs = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
    signature = Signature.of(f"{inputs} -> instruction_1, instruction_2")
    reply = SimulatedLM(seed)(request(signature, given, temperature=temperature)).text
    return [str(text) for text in CHAT.parse(signature, reply, "m").values()]


def share(texts: list[str], part: str) -> float:
    return sum(part in text for text in texts) / len(texts)


def test_shown_nothing_it_writes_empty_talk():
    replies = [written(seed) for seed in range(10)]
    assert not any(cues_in(text) or rules_in(text) for reply in replies for text in reply)
    assert len({tuple(reply) for reply in replies}) > 3


def test_each_module_gets_what_fits_it():
    replies = [written(seed, dataset_summary=f"{RULE}; {BRIDGE}.") for seed in range(20)]
    hops, answers = zip(*replies, strict=True)
    assert share(list(hops), BRIDGE) > 0.6
    assert share(list(answers), RULE) > 0.6
    assert share(list(hops), RULE) == share(list(answers), BRIDGE) == 0
    assert all("`search_query`" in text for text in hops)


def test_roles_and_demonstrations_are_those_of_the_module():
    rows = [
        json.dumps({"inputs": {"question": q}, "outputs": {"answer": a}})
        for q, a in (("Who founded it?", "orla quill"), ("Who wrote it?", "asta kray"))
    ]
    demos = [f"answer · {text}" for text in rows]
    other = [f"hops[0] · {text}" for text in rows]
    told = [written(seed, demos=demos)[1] for seed in range(20)]
    assert sum(rules_in(text).get("person") == "lower" for text in told) > 12
    assert not any(rules_in(written(seed, demos=other)[1]) for seed in range(20))
    role = [f"hops[0] · It writes queries. {BRIDGE}.", "answer · It answers."]
    assert share([written(seed, module_roles=role)[0] for seed in range(20)], BRIDGE) > 0.6


def test_of_a_history_it_starts_from_the_best_program():
    def entry(score: float, first: str, second: str) -> str:
        texts = {"hops[0]": f"Give it. {first}.", "answer": f"Give it. {second}."}
        return json.dumps({"instructions": texts, "score": score, "n": 9})

    history = [entry(0.1, "Look", "Reply in a full sentence"), entry(0.8, BRIDGE, RULE)]
    for order in (history, history[::-1]):
        replies = [written(seed, history=order) for seed in range(20)]
        assert share([hop for hop, _ in replies], BRIDGE) > 0.6
        assert share([answer for _, answer in replies], RULE) > 0.6
        assert share([answer for _, answer in replies], "full sentence") == 0


def test_what_is_no_history_is_passed_over():
    for bad in ("x", "[1]", '{"instructions": 3}', '{"instructions": {"answer": 1}, "score": "a"}'):
        assert len(written(history=[bad])) == 2
