"""What a run depends on, as JSON: its settings, data, code and language models, by digest.

It opens the journal, stands in `config.json`, and says on resuming what has changed.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mipro import __version__
from mipro.data import Example
from mipro.lm.base import LM
from mipro.lm.meter import Price
from mipro.metrics import Metric
from mipro.optimizers.methods import Method, maker_of, name_of
from mipro.optimizers.task import Task
from mipro.programs.program import Program
from mipro.programs.prompt import candidate_digest

_PLAIN = (str, int, float, bool, type(None))


def described(
    method: Method, task: Task, test: Sequence[Example] | None, prices: Mapping[str, Price]
) -> dict[str, Any]:
    """All that decides how a run goes, but for what cannot be seen (other files, the network)."""
    parts = {"train": task.train, "val": task.val, "test": test}
    program, teacher = task.program, task.teacher
    programs = [program] if teacher.program is None else [program, teacher.program]
    body = {
        "method": name_of(method),
        "options": task.options.to_json(),
        "metric": task.metric.name,
        "program": type(program).__name__,
        "modules": {name: str(s) for name, s in program.signatures().items()},
        "adapter": type(task.adapter).__name__ if task.adapter else "ChatAdapter",
        "lm": task.lm.identity,
        "prompt_lm": task.prompt_lm.identity,
        "teacher_lm": teacher.lm.identity if teacher.lm else None,
        "data": {name: _data(part) for name, part in parts.items() if part is not None},
        "prices": {model: [p.prompt, p.completion] for model, p in sorted(prices.items())},
        "budget": task.ledger.spending.limits if task.ledger.spending else None,
        "prompts": candidate_digest(program.prompts()),
        "teacher": candidate_digest(teacher.candidate) if teacher.candidate else None,
        "attributes": _attributes(program),
        "metric_arguments": {"worst": task.metric.worst, "bound": _bound(task.metric.function)},
        "code": _code(programs, task.metric, method),
        "mipro": __version__,
    }
    own = {f"{i}.{n}": lm.identity for i, p in enumerate(programs) for n, lm in _own(p)}
    if own:  # 0 is the program, 1 the teacher's
        body["module_lms"] = own
    plain: dict[str, Any] = json.loads(json.dumps(body))
    return plain


def _own(program: Program) -> Iterable[tuple[str, LM]]:
    return program.own_lms().items()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _data(examples: Sequence[Example]) -> dict[str, Any]:
    text = json.dumps([dict(e) for e in examples], sort_keys=True, default=str)
    return {"n": len(examples), "digest": _digest(text.encode())}


def _attributes(program: Program) -> dict[str, Any]:
    """The program's plain attributes, and its parts': `{"hops": 2}`."""
    return {
        f"{name}{key}": value
        for name, part in _parts(program, "", set())
        for key, value in vars(part).items()
        if isinstance(value, _PLAIN)
    }


def _parts(value: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Program]]:
    """The program and the programs it holds, each with where it stands."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Program):
        yield name, value
        for key, part in vars(value).items():
            yield from _parts(part, f"{name}{key}.", seen)
    elif isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            yield from _parts(part, f"{name}{i}.", seen)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _parts(part, f"{name}{key}.", seen)


def _bound(function: Callable[..., Any]) -> list[Any]:
    """The plain values that a metric's function has been given beforehand."""
    values: list[Any] = []
    while isinstance(function, partial):
        values += [*function.args, *function.keywords.values()]
        function = function.func
    for cell in getattr(function, "__closure__", None) or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # a name that is not bound yet
            continue
    return [value for value in values if isinstance(value, _PLAIN)]


def _code(programs: Sequence[Program], metric: Metric, method: Method) -> dict[str, str | None]:
    """The source files behind programs, metric and a method of one's own.

    Name → digest, None where there is no source.
    """
    objects: list[Any] = []
    for program in programs:
        for _, part in _parts(program, "", set()):
            classes = type(part).__mro__
            objects += classes[: classes.index(Program)]
            objects += _functions(vars(part), set())
    function = metric.function
    while isinstance(function, partial):
        function = function.func
    objects.append(function if hasattr(function, "__code__") else type(function))
    if not isinstance(method, str):
        objects.append(maker_of(method))
        while isinstance(method, partial):  # a setting of the proposer, say, with its own code
            objects += _functions([method.args, method.keywords], set())
            method = method.func
    return dict(sorted(_source(thing) for thing in objects))


def _functions(held: Any, seen: set[int]) -> Iterator[Any]:
    """The functions that a program holds: its retriever, its tools, and those of its helpers."""
    if inspect.isfunction(held):
        yield held
    elif isinstance(held, (dict, list, tuple)) and id(held) not in seen:
        seen.add(id(held))
        for value in held.values() if isinstance(held, dict) else held:
            yield from _functions(value, seen)
    elif not isinstance(held, (type, Program)):  # a helper's lists may be a corpus: not searched
        yield from filter(inspect.isfunction, getattr(held, "__dict__", {}).values())


def _source(thing: Any) -> tuple[str, str | None]:
    """The file's name, the same whether it was imported or run, and the digest of its text."""
    home = sys.modules.get(getattr(thing, "__module__", None) or "")
    path = getattr(home, "__file__", None)
    try:
        if path is not None:
            return Path(path).stem, _digest(Path(path).read_bytes())
        return thing.__name__, _digest(inspect.getsource(thing).encode())
    except (OSError, TypeError):  # a notebook's cell or typed-in code may have no source any more
        return getattr(thing, "__name__", type(thing).__name__), None
