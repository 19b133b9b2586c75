"""HoVer: the claims that rest on three articles, all of which are to be found.

The paper draws its 500 and 500 from the train release and its 1,520 from the dev release. Where the
folder has the train release (`hover_train_release_v1.1.json`), so do we. Where it has the dev
release alone, all three parts are drawn from that: it has 1,835 three-hop claims, 1,820 of them
different, which makes 500, 500 and 820. They were written by rewording 772 questions, up to six
times each, with the same articles: all claims of a question go to one part, or a demonstration
would show the answer to a test claim.
"""

from __future__ import annotations

from collections.abc import Sequence
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
CLAIMS = 4000  # of any number of hops, in the dev release
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


def hover(
    data: str | Path | None = None, seed: int = 0, corpus: str | Path | None = None
) -> PaperTask:
    """HoVer: 500 train, 500 val; 1,520 test where the train release is there, else 820."""
    retrieve = searcher("hover", corpus, k=7)
    folder = data_folder(data) / "hover"
    dev, rng = claims(folder / DEV, CLAIMS), stream(seed, "split")
    if (folder / TRAIN).is_file():
        held = {claim.question for claim in dev}
        rest = [claim for claim in claims(folder / TRAIN) if claim.question not in held]
        train, val = parts(rest, SIZES[:2], rng)
        (test,) = parts(dev, SIZES[2:], rng)
    else:
        left = len(dev) - SIZES[0] - SIZES[1]
        train, val, test = parts(dev, (*SIZES[:2], left), rng)
    return PaperTask("hover", HoVer(retrieve), all_titles(), train, val, test)


def parts(
    found: Sequence[Claim], sizes: Sequence[int], rng: Generator
) -> list[tuple[Example, ...]]:
    """Parts of these sizes, each in random order, with all claims of a question in one part.

    Questions are gone through in random order; the claims of each go to the first part that has
    room for them all. Raises `DataError` where a part is not filled.
    """
    groups: dict[str, list[Example]] = {}
    for claim in found:
        groups.setdefault(claim.question, []).append(claim.example)
    every = list(groups.values())
    filled: list[list[Example]] = [[] for _ in sizes]
    for i in rng.permutation(len(every)):
        rooms = (p for p, n in zip(filled, sizes, strict=True) if len(p) + len(every[i]) <= n)
        next(rooms, []).extend(every[i])
    have = [len(part) for part in filled]
    if have != list(sizes):
        raise DataError(f"{len(found)} claims make parts of {have}; {list(sizes)} are wanted")
    return [tuple(part[j] for j in rng.permutation(len(part))) for part in filled]


def claims(path: Path, count: int | None = None) -> list[Claim]:
    """The different three-hop claims of a release, in its order: `claim`, and the `titles` of it.

    Raises `DataError`, with the file and which claim, for another form, a claim whose number of
    hops is not that of its titles, and another number of claims than `count`.
    """
    try:
        body = strict.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not isinstance(body, list) or not body:
        raise DataError(f"{path}: a JSON array of claims is wanted")
    if count is not None and len(body) != count:
        raise DataError(f"{path}: {len(body)} claims; the release has {count}: fetch it again")
    found: dict[str, Claim] = {}
    for i, row in enumerate(body, 1):
        try:
            claim = _claim(row)
        except ValueError as error:
            raise DataError(f"{path}, claim {i}: {error}") from error
        if row["num_hops"] == HOPS:
            found.setdefault(claim.example["claim"], claim)
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
    if len(titles) != row["num_hops"]:
        raise ValueError(f"{len(titles)} titles for {row['num_hops']} hops")
    example = Example({"claim": text, "titles": list(titles)}, inputs=("claim",))
    return Claim(example, row["hpqa_id"])
