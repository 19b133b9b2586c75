"""`Replies`: what language models answered in one run; `Once`: an LM that asks them through it.

Equal requests of a run are sent once: the first use of a reply is what it cost, every later one
comes with `cached=True`. Failures that cost their example alone are kept as well, so that a run
fails the same way however its threads fall, and when it is resumed.

In a run directory the replies are lines of `replies.jsonl` (`reply_lines.py`). A resumed run finds
them there: the first use of each is booked as it was then, paid or from a cache, and nothing is
asked again. Prompts and keys are not written: a reply stands under the digest of its request and
its LM.

Work that goes to another process takes along what its example may need, and brings home what is
new (`Luggage`); what a worker had answered for an example it did not finish is lost with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from mipro.errors import ConfigError
from mipro.lines import LineFile, read_lines
from mipro.lm.base import LM, Completion, LMError, OverLM, Request, Usage, through
from mipro.lm.cache import Cached
from mipro.lm.cache import of_kind as _a
from mipro.lm.flights import Flights
from mipro.lm.meter import Entry, Ledger, entry_of
from mipro.lm.reply_lines import Committer, Reply, from_json, to_json

SCHEMA = 1
Place = tuple[int, int]  # of work done in another process: number of the evaluation, example


@dataclass(frozen=True)
class Luggage:
    """Replies by digest that travel with an example to another process, or home from it.

    `own` are those that this example was the first to use, `known` were used before; `models` has
    the model that each of `own` was asked of, on the way home.
    """

    own: Mapping[str, Reply] = field(default_factory=dict)
    known: Mapping[str, Reply] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)


class Replies:
    """The replies of one run. Safe on many threads; pickled, it arrives empty.

    In memory until `keep` gives it a file.
    """

    def __init__(self, luggage: Luggage | None = None) -> None:
        self._flights = Flights()
        self._used: dict[str, Reply] = dict(luggage.known) if luggage else {}
        self._had: dict[str, Reply] = dict(luggage.own) if luggage else {}  # in an earlier sitting
        self._first: dict[str, Reply] = {}  # what was used here for the first time, where `luggage`
        self._models: dict[str, str] = {}  # whom it was asked of
        self._log = luggage is not None
        # of an earlier sitting: what was answered in this process, and in others
        self._here: dict[str, Reply] = {}
        self._abroad: dict[Place, dict[str, Reply]] = {}
        self._of_example: dict[str, dict[str, Reply]] = {}
        self._evaluations = 0
        self._paid: list[tuple[str, Usage]] = []
        self._payers: dict[str, Turn] = {}  # of what was first used in a turn not yet settled
        self._committer: Committer | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Replies.__init__(self)

    # ---- the file -----------------------------------------------------------------------------

    def keep(self, path: Path, *, resume: bool = False) -> None:
        """Keep replies in `path` from now on; with `resume`, those that are there are had already.

        Raises `ConfigError` for a file in use or damaged, and `WriteError`.
        """
        file = LineFile(path)
        try:
            lines, ends = read_lines(path) if resume else ([], [])
            file.keep(ends[-1] if ends else 0)
            if not lines:
                file.append([{"replies": SCHEMA}])
            elif lines[0].get("replies") != SCHEMA:
                raise ConfigError(f"{path}, line 1: these are no replies of schema {SCHEMA}")
            for number, line in enumerate(lines[1:], 2):
                try:
                    self._remember(line)
                except (KeyError, TypeError, ValueError) as error:
                    what = f"no reply ({repr(error)[:200]})"
                    raise ConfigError(f"{path}, line {number}: {what}") from error
        except BaseException:  # nobody else can close it
            file.close()
            raise
        self._committer = Committer(file)

    def close(self) -> None:
        """Close the file; a reply that comes later is refused."""
        if self._committer is not None:
            self._committer.close()

    def _remember(self, line: Mapping[str, Any]) -> None:
        digest, reply = _a(str, line["digest"]), from_json(line)
        if not reply.cached:
            self._paid.append((_a(str, line["lm"]), reply.usage))
        if "of" in line:
            evaluation, example = line["of"]
            place = (_a(int, evaluation), _a(int, example))
            self._abroad.setdefault(place, {})[digest] = reply
        else:
            self._here[digest] = reply
        self._had.setdefault(digest, reply)

    @property
    def paid(self) -> list[tuple[str, Usage]]:
        """(model, usage) of the calls that an earlier sitting made; the model as it is priced."""
        return list(self._paid)

    # ---- one request --------------------------------------------------------------------------

    def answer(self, lm: LM, request: Request, turn: Turn | None = None) -> Completion:
        """The reply that the run has had to `request`, else the LM's, kept; asked in `turn`.

        Raises as the LM does, and `RepliesError`.
        """
        digest = request.digest(lm.identity)
        if turn is not None:
            turn.used[digest] = lm.model
        if self._log:
            self._models[digest] = lm.model

        def keep(completion: Completion) -> None:
            if digest not in self._used:
                self._keep({digest: completion}, lm.model, turn=turn)

        def ask() -> Completion:
            if self._committer is not None:
                self._committer.check()  # what cannot be kept is not paid for
            try:
                completion = lm.answer(request, keep) if isinstance(lm, Cached) else lm(request)
            except LMError as error:
                if not error.systemic:
                    self._keep({digest: error}, lm.model, turn=turn)
                raise
            keep(completion)
            return completion

        return self._flights.once(digest, lambda key: self._stored(key, turn), ask)

    def _stored(self, digest: str, turn: Turn | None) -> Completion | None:
        first = digest in self._had
        if first:
            self._use({digest: self._had.pop(digest)}, turn)
        reply = self._used.get(digest)
        if isinstance(reply, LMError):
            raise reply.copied() if first else reply.again()
        return reply if first or reply is None else replace(reply, cached=True, retries=0)

    def _keep(self, replies: Mapping[str, Reply], model: str, turn: Turn | None = None) -> None:
        """Write new replies down; from then on they have been used."""
        self._write([{"digest": d, "lm": model, **to_json(r)} for d, r in replies.items()])
        with self._flights.lock:
            self._use(replies, turn)

    def _write(self, lines: list[Mapping[str, Any]]) -> None:
        if self._committer is not None and lines:
            self._committer.commit(lines)

    def _use(self, replies: Mapping[str, Reply], turn: Turn | None = None) -> None:
        self._used.update(replies)
        if self._log:
            self._first.update(replies)
        if turn is not None:
            self._payers.update(dict.fromkeys(replies, turn))

    def settle(self, turn: Turn) -> None:
        """Let `turn` pay for what it used and no turn settled before it did, whoever asked first.

        So each turn's ledger is that of turns taken one after the other. Turns are settled in
        their order, each when its calls are over.
        """
        for digest, model in turn.used.items():
            with self._flights.lock:
                payer = self._payers.pop(digest, turn)
                reply = self._used.get(digest)
            if payer is not turn and reply is not None:
                move = entry_of(reply) - Entry(cached=1)
                turn.ledger.corrected(turn.role, model, move)
                payer.ledger.corrected(payer.role, model, Entry() - move)

    # ---- work in other processes --------------------------------------------------------------

    def packed(self, examples: Iterable[str]) -> tuple[int, list[Luggage]]:
        """The number of an evaluation that begins, and what each example (its key) takes along.

        `own` is what an earlier sitting had for it in this evaluation, `known` what it used before.
        """
        number, self._evaluations = self._evaluations, self._evaluations + 1
        return number, [
            Luggage(
                {**self._here, **self._abroad.get((number, i), {})},
                dict(self._of_example.get(key, {})),
            )
            for i, key in enumerate(examples)
        ]

    def unpacked(self, homes: Mapping[Place, Luggage], model: str) -> None:
        """Keep what examples brought home, in one write; from `model`, where they do not say.

        Raises `RepliesError`.
        """
        lines: list[Mapping[str, Any]] = []
        for place, luggage in homes.items():
            had = self._abroad.get(place, {})
            for digest, reply in luggage.own.items():
                if digest not in self._here and digest not in had:
                    where = {"lm": luggage.models.get(digest, model), "of": place}
                    lines.append({"digest": digest, **where, **to_json(reply)})
        self._write(lines)
        with self._flights.lock:
            for luggage in homes.values():
                self._use(luggage.own)

    def learnt(self, key: str, luggage: Luggage) -> None:
        """From now on an example (its key) takes these along.

        Apart from `unpacked`, as of several evaluations under way the first is to learn first.
        """
        self._of_example.setdefault(key, {}).update(luggage.own)

    def luggage(self) -> Luggage:
        """What was used here for the first time, to be brought home."""
        own = dict(self._first)
        return Luggage(own, models={digest: self._models[digest] for digest in own})


@dataclass(eq=False)
class Turn:
    """What one of several trials under way asked, and the ledger it is booked in."""

    ledger: Ledger
    role: str
    used: dict[str, str] = field(default_factory=dict)  # digest → model asked, in order

    def __getstate__(self) -> dict[str, Any]:
        """Without what was used: another process settles nothing."""
        return {"ledger": self.ledger, "role": self.role, "used": {}}


@final
@dataclass(frozen=True)
class Once(OverLM):
    """An LM that asks `lm` once for equal requests of a run; `turn` is whose they are."""

    lm: LM
    replies: Replies
    turn: Turn | None = None

    def over(self, own: LM) -> Once:
        """`own`, its replies kept in the same place, and told apart by its identity."""
        return replace(self, lm=through(self.lm, own))

    def __call__(self, request: Request, /) -> Completion:
        """The run's reply to `request`. Raises as the LM does, and `RepliesError`."""
        return self.replies.answer(self.lm, request, self.turn)
