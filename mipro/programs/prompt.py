"""What is tuned: a candidate, `{module name: Prompt(instruction, demos)}`, and its JSON file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from mipro import strict
from mipro.errors import CandidateError
from mipro.programs import types
from mipro.programs.signature import Signature

FORMAT = "mipro-candidate"
VERSION = 1


@dataclass(frozen=True, eq=False)
class Demo:
    """A demonstration: field values of one module, all outputs and some or all inputs.

    `bootstrapped` is True where a teacher's run wrote it, False where it is a labelled example.
    """

    values: Mapping[str, Any]
    bootstrapped: bool = False

    @cached_property
    def digest(self) -> str:
        """A content address: equal demos have equal digests, in any process."""
        text = json.dumps(self.values, sort_keys=True, ensure_ascii=False)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Demo) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True, eq=False)
class Prompt:
    """The open variables of one module: its instruction and its demonstrations, in order."""

    instruction: str
    demos: tuple[Demo, ...] = ()

    @cached_property
    def digest(self) -> str:
        """A content address of instruction and demos, the same in any process."""
        parts = [self.instruction, *(demo.digest for demo in self.demos)]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prompt) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


Candidate = Mapping[str, Prompt]


def candidate_digest(candidate: Candidate) -> str:
    """A content address of a candidate, independent of the order of its modules."""
    text = json.dumps(sorted((name, prompt.digest) for name, prompt in candidate.items()))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def to_json(candidate: Candidate, signatures: Mapping[str, Signature]) -> dict[str, Any]:
    """The candidate as a JSON object that names each module's signature beside its prompt."""
    modules = {}
    for name, prompt in candidate.items():
        modules[name] = {
            "signature": str(signatures[name]),
            "instruction": prompt.instruction,
            "demos": [
                {"bootstrapped": demo.bootstrapped, "values": dict(demo.values)}
                for demo in prompt.demos
            ],
        }
    return {"format": FORMAT, "version": VERSION, "modules": modules}


def from_json(
    body: Any, signatures: Mapping[str, Signature], where: str = "candidate"
) -> dict[str, Prompt]:
    """Read a candidate back and check it against the program's modules.

    Raises `CandidateError` for another format or version, a module the program lacks or the file
    lacks, another signature, and a demo with a missing, unknown or ill-typed field.
    """
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise CandidateError(f'{where}: this is no candidate file (no "format": "{FORMAT}")')
    if body.get("version") != VERSION:
        given = repr(body.get("version"))[:80]
        raise CandidateError(f"{where}: version {given}; this is read: {VERSION}")
    modules = body.get("modules")
    if not isinstance(modules, dict):
        raise CandidateError(f'{where}: "modules" must be an object, module by module')
    for name in modules:
        if name not in signatures:
            known = ", ".join(f"'{n}'" for n in signatures)
            raise CandidateError(f"{where}: the program has no module '{name}'; it has {known}")
    for name in signatures:
        if name not in modules:
            raise CandidateError(f"{where}: the module '{name}' of the program is missing")
    return {name: _prompt(modules[name], signatures[name], f"{where}: {name}") for name in modules}


def _prompt(body: Any, signature: Signature, where: str) -> Prompt:
    if not isinstance(body, dict):
        raise CandidateError(f"{where}: an object is wanted")
    if not isinstance(body.get("instruction"), str) or not body["instruction"].strip():
        raise CandidateError(f'{where}: "instruction" must be a text that is not empty')
    if body.get("signature", str(signature)) != str(signature):
        raise CandidateError(
            f"{where}: it was tuned for '{body['signature']}', the program now has '{signature}'"
        )
    demos = body.get("demos", [])
    if not isinstance(demos, list):
        raise CandidateError(f'{where}: "demos" must be an array')
    read = (_demo(demo, signature, f"{where}: demo {i}") for i, demo in enumerate(demos, 1))
    return Prompt(body["instruction"], tuple(read))


def _demo(body: Any, signature: Signature, where: str) -> Demo:
    values = body.get("values") if isinstance(body, dict) else None
    if not isinstance(values, dict):
        raise CandidateError(f'{where}: "values" must be an object, field by field')
    bootstrapped = body.get("bootstrapped", False)
    if not isinstance(bootstrapped, bool):
        raise CandidateError(f'{where}: "bootstrapped" must be true or false')
    return Demo(check_demo(values, signature, where), bootstrapped)


def check_prompt(prompt: Any, signature: Signature, where: str) -> None:
    """Raise `CandidateError` for what is no `Prompt`, or a demo that does not fit the module."""
    if not isinstance(prompt, Prompt):
        raise CandidateError(f"{where}: a mipro.Prompt is wanted, not {prompt!r}")
    for i, demo in enumerate(prompt.demos, 1):
        if not isinstance(demo, Demo):
            raise CandidateError(f"{where}: demo {i}: a mipro.Demo is wanted, not {demo!r}")
        try:
            _check_demo_once(demo, signature, f"{where}: demo {i}")
        except TypeError as error:  # its digest asks for JSON
            raise CandidateError(f"{where}: demo {i}: {error}") from error


@lru_cache(maxsize=65_536)
def _check_demo_once(demo: Demo, signature: Signature, where: str) -> None:
    check_demo(demo.values, signature, where)


def check_demo(values: Mapping[str, Any], signature: Signature, where: str) -> dict[str, Any]:
    """A copy of the values, checked against the signature; `reasoning` alone may be left out.

    Inputs are taken as programs give them: one declared as text, which is what an undeclared one
    is, may hold any JSON value (a list of passages, say); text given for another type is read as
    that type (a CSV file holds nothing else).
    """
    checked = {}
    for name, value in values.items():
        field = signature.fields.get(name)
        if field is None:
            raise CandidateError(f"{where}: '{signature}' has no field '{name}'")
        try:
            if field in signature.outputs:
                checked[name] = types.check(field.type, value)
            elif field.type is str:
                checked[name] = types.snapshot(value)
            else:
                read = types.read if isinstance(value, str) else types.check
                checked[name] = read(field.type, value)
        except ValueError as error:
            raise CandidateError(f"{where}: field '{name}': {error}") from error
    for field in signature.outputs:
        if field.name not in checked and field.name != "reasoning":
            raise CandidateError(f"{where}: the output field '{field.name}' is missing")
    return checked


def save(path: str | Path, candidate: Candidate, signatures: Mapping[str, Signature]) -> None:
    """Write the candidate as indented JSON."""
    text = json.dumps(to_json(candidate, signatures), indent=2, ensure_ascii=False)
    # half a surrogate pair, which UTF-8 has no bytes for, is written as JSON's own escape
    data = (text + "\n").encode("utf-8", "backslashreplace")
    Path(path).write_bytes(data)


def load(path: str | Path, signatures: Mapping[str, Signature]) -> dict[str, Prompt]:
    """Read a candidate file. Raises `CandidateError` with the path and what is wrong."""
    try:
        body = strict.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CandidateError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CandidateError(f"{path}: is not JSON: {error}") from error
    return from_json(body, signatures, str(path))
