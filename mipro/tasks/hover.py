"""HoVer: the claims that rest on three articles, all of which are to be found.

The paper draws its 500 and 500 from the train release and its 1,520 from the dev release. Where
`hover/hover_train_release_v1.1.json` is beside the dev release, so do we. Where it is not, all
three parts are drawn from the dev release: it has 1,835 three-hop claims, 1,820 of them different,
which makes 500, 500 and 820, and the task says so in its `notes`.

Claims were written by rewording questions: the dev release's 1,820 are 772 questions, up to six
times each, with the same articles. All claims that share a question, or their articles, go to one
part, or a demonstration would show the answer to a test claim; for the same reason no claim of the
train release is taken that shares either with one of the dev release.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.random import Generator

from mipro import strict
from mipro.data import Example
from mipro.errors import DataError
from mipro.metrics import all_titles
from mipro.programs.hover import HoVer
from mipro.seeds import stream
from mipro.tasks.folder import data_folder
from mipro.tasks.searching import searcher
from mipro.tasks.task import PaperTask

DEV, TRAIN = "hover_dev_release_v1.1.json", "hover_train_release_v1.1.json"
RELEASED = {DEV: 4000, TRAIN: 18_171}  # claims, of any number of hops
SIZES = (500, 500, 1520)
HOPS = 3
FIELDS = {
    "uid": str,
    "claim": str,
    "supporting_facts": list,
    "label": str,
    "num_hops": int,
    "hpqa_id": str,
}


class Claim(NamedTuple):
    """A claim, and the question of HotPotQA it was written from."""

    example: Example
    question: str

    @property
    def shares(self) -> tuple[Hashable, ...]:
        """What no two parts may share: the question, the articles, and the claim itself."""
        return self.question, frozenset(self.example["titles"]), self.example["claim"]


def hover(
    data: str | Path | None = None, seed: int = 0, corpus: str | Path | None = None
) -> PaperTask:
    """HoVer: 500 train, 500 val; 1,520 test where the train release is there, else 820."""
    retrieve = searcher("hover", corpus, k=7)
    folder, rng = data_folder(data) / "hover", stream(seed, "split")
    dev, notes = claims(folder / DEV), []
    if (folder / TRAIN).is_file():
        odd: list[int] = []
        held = {shared for claim in dev for shared in claim.shares}
        found = claims(folder / TRAIN, odd)
        rest = [claim for claim in found if not held.intersection(claim.shares)]
        train, val = parts(rest, SIZES[:2], rng)
        (test,) = parts(dev, SIZES[2:], rng)
        if odd:
            text = f"{len(odd)} claims are left out, the first claim {odd[0]}: their articles are"
            notes = [f"{folder / TRAIN}: {text} not as many as their hops"]
    else:
        left = len(dev) - SIZES[0] - SIZES[1]
        train, val, test = parts(dev, (*SIZES[:2], left), rng)
        notes = [
            f"{left} test claims, not the paper's {SIZES[2]:,}: {folder} has no {TRAIN}, so train "
            f"and val are drawn from the dev release too. Put the train release there"
        ]
    return PaperTask("hover", HoVer(retrieve), all_titles(), train, val, test, tuple(notes))


def parts(
    found: Sequence[Claim], sizes: Sequence[int], rng: Generator
) -> list[tuple[Example, ...]]:
    """Parts of these sizes, each in random order, with claims that share something in one part.

    Groups of such claims are gone through in random order; each goes to the first part that has
    room for it all. What room is left then, for groups too large, is filled with as much of one
    that no part has. Raises `DataError` where a part is not filled.
    """
    every = groups(found)
    filled: list[list[Example]] = [[] for _ in sizes]
    spare: list[list[Example]] = []
    for i in rng.permutation(len(every)):
        group = [claim.example for claim in every[i]]
        rooms = (p for p, n in zip(filled, sizes, strict=True) if len(p) + len(group) <= n)
        if (part := next(rooms, None)) is None:
            spare.append(group)
        else:
            part.extend(group)
    for part, n in zip(filled, sizes, strict=True):
        while len(part) < n and spare:
            part.extend(spare.pop()[: n - len(part)])
    have = [len(part) for part in filled]
    if have != list(sizes):
        raise DataError(f"{len(found)} claims make parts of {have}; {list(sizes)} are wanted")
    return [tuple(part[j] for j in rng.permutation(len(part))) for part in filled]


def groups(found: Sequence[Claim]) -> list[list[Claim]]:
    """Claims that share a question or their articles, also by way of others, in a group."""
    group_of: dict[Hashable, list[Claim]] = {}
    for claim in found:
        joined = {id(g): g for shared in claim.shares if (g := group_of.get(shared))}
        group = [*(member for g in joined.values() for member in g), claim]
        group_of |= {shared: group for member in group for shared in member.shares}
    return list({id(group): group for group in group_of.values()}.values())


def claims(path: Path, odd: list[int] | None = None) -> list[Claim]:
    """The different three-hop claims of a release, in its order: `claim`, and the `titles` of it.

    Raises `DataError`, with the file and which claim, for another form, another number of claims
    than the release has, and a claim whose number of hops is not that of its titles. With `odd` the
    numbers of the last go there, and such claims are left out.
    """
    try:
        body = strict.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not isinstance(body, list) or not body:
        raise DataError(f"{path}: a JSON array of claims is wanted")
    wanted = RELEASED.get(path.name, len(body))
    if len(body) != wanted:
        raise DataError(f"{path}: {len(body)} claims; the release has {wanted}: fetch it again")
    found: dict[str, Claim] = {}
    for i, row in enumerate(body, 1):
        try:
            claim = _claim(row)
            if (titles := len(claim.example["titles"])) != row["num_hops"]:
                if odd is None:
                    raise ValueError(f"{titles} titles for {row['num_hops']} hops")
                odd.append(i)
            elif titles == HOPS:
                found.setdefault(claim.example["claim"], claim)
        except ValueError as error:
            raise DataError(f"{path}, claim {i}: {error}") from error
    return list(found.values())


def _claim(row: Any) -> Claim:
    """Raises `ValueError` that says what is wrong with the row."""
    if not isinstance(row, dict):
        raise ValueError(f"an object is wanted, not {row!r:.80}")
    for name, kind in FIELDS.items():
        if type(row.get(name)) is not kind:
            raise ValueError(f"'{name}' is {row.get(name)!r:.80}: {kind.__name__} is wanted")
    if not (text := row["claim"].strip()):
        raise ValueError("'claim' is empty")
    titles: dict[str, None] = {}
    for fact in row["supporting_facts"]:
        match fact:
            case [str(title), int()] if title.strip():
                titles[title] = None
            case _:
                raise ValueError(f"a fact is [title, sentence], not {fact!r:.80}")
    example = Example({"claim": text, "titles": list(titles)}, inputs=("claim",))
    return Claim(example, row["hpqa_id"])
