"""Kill -9 at points drawn by a seed, resume, and hold the end against an uninterrupted run's.

    python tests/kill/points.py --points 200 --seed 0

A run is a forked child: real work, in a real directory, of a process that is really killed. The
parent watches how many calls it has made (or how many lines its journal has) and kills it a moment
later. Phases take turns: bootstrapping, proposing, minibatches, full evaluations, the test at the
end, and the middle of a write (the last line of the journal, and of the replies, is cut at a random
byte after the kill, as a kill between two writes of one line would leave it). One run in four is
killed a second time while it is gone on with.

A call that was answered and kept must not be made again: for each kill, the requests whose replies
were in the run's directory are looked for in the LM's own log from there on. Prints the counts as
JSON; exits with 1 if any end differs or any such call was repeated.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from resuming import LINE, LoggedLM, begin, end_of, go_on
from small_runs import small

from mipro.journal import read_journal
from mipro.lines import read_lines

WORLDS = {name: small(name) for name in ("iris", "twohop")}
THREADS = 4
LATENCY = 0.001  # seconds a call, so that a kill finds calls in flight
PHASES = ("bootstrap", "proposing", "minibatch", "full", "test", "write")


def forked(work: Callable[[], Any]) -> int:
    """A child process that does `work` and ends with 0, or 1 and a traceback."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, a child must not run the parent's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> bool:
    return os.waitpid(child, os.WNOHANG)[0] == child


def killed_when(child: int, reached: Callable[[], bool], delay: float) -> bool:
    """Kill the child `delay` after `reached`; False if it came to its end before."""
    while not reached():
        if ended(child):
            return False
        time.sleep(0.0002)
    time.sleep(delay)
    if ended(child):
        return False
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


class Reference:
    """An uninterrupted run: how it ended, and between which calls its phases lie."""

    def __init__(self, name: str, place: Path) -> None:
        self.world = WORLDS[name]
        begin(place / "run", LoggedLM(place / "log"), self.world, threads=THREADS)
        self.end = end_of(place / "run")
        self.calls = size(place / "log") // LINE
        self.events = read_journal(place / "run/journal.jsonl")
        self.ranges: dict[str, list[tuple[int, int]]] = {phase: [] for phase in PHASES}
        told = [event for event in self.events if "usage" in event]
        for before, event in itertools.pairwise(told):
            total, after = (sum(u["calls"] for u in e["usage"].values()) for e in (before, event))
            for role, phase in (("teacher", "bootstrap"), ("prompt", "proposing")):
                here, then = (e["usage"].get(role, {"calls": 0})["calls"] for e in (event, before))
                self._range(phase, total, total + here - then)
                total += here - then
            self._range(event.get("kind", "test"), total, after)
        full = told[0]["usage"]["task"]["calls"]
        self._range("full", 0, full)

    def _range(self, phase: str, low: int, high: int) -> None:
        if high > low:
            self.ranges[phase].append((low, high))

    def phase_after(self, events: int) -> str:
        """What a run with so many events in its journal was at."""
        rest = [e["event"] for e in self.events[events:]]
        if "trial" not in rest:
            return "test"
        if "bootstrap" in rest:
            return "bootstrap" if rest.index("bootstrap") < rest.index("trial") else "full"
        if "proposal" in rest and rest.index("proposal") < rest.index("trial"):
            return "proposing"
        return str(next(e["kind"] for e in self.events[events:] if e["event"] == "trial"))


class Point:
    """One run, killed once or twice, then gone on with to its end."""

    def __init__(self, reference: Reference, place: Path, phase: str, rng: random.Random) -> None:
        self.reference, self.place, self.phase, self.rng = reference, place, phase, rng
        self.run, self.log = place / "run", place / "log"
        self.kept: list[tuple[int, set[str]]] = []  # calls made, and digests kept, at each kill
        self.at: Counter[str] = Counter()
        self.torn = 0

    def killed(self) -> bool:
        """Begin it and kill it in its phase; False if it was over too soon."""
        world, lm = self.reference.world, LoggedLM(self.log, latency=LATENCY)
        child = forked(lambda: begin(self.run, lm, world, threads=THREADS))
        if self.phase == "write":
            wanted = self.rng.randrange(1, len(self.reference.events))
            reached = lambda: lines(self.run / "journal.jsonl") >= wanted  # noqa: E731
        else:
            low, high = self.rng.choice(self.reference.ranges[self.phase])
            wanted = self.rng.randint(low + 1, high)
            reached = lambda: size(self.log) >= LINE * wanted  # noqa: E731
        if not killed_when(child, reached, self.rng.uniform(0, 0.004)):
            return False
        self._note()
        return True

    def killed_again(self) -> None:
        """Go on and kill it once more, if it lasts so long."""
        made = size(self.log) // LINE
        wanted = self.rng.randint(made, self.reference.calls)
        child = forked(self._go_on)
        if killed_when(child, lambda: size(self.log) >= LINE * wanted, self.rng.uniform(0, 0.01)):
            self._note()

    def finished(self) -> bool:
        """Go on to the end. Is it the end of the run that was not killed?"""
        child = forked(self._go_on)
        _, status = os.waitpid(child, 0)
        return status == 0 and end_of(self.run) == self.reference.end

    def _go_on(self) -> None:
        lm = LoggedLM(self.log, latency=LATENCY)
        settings = {} if lines(self.run / "journal.jsonl") else {"trials": 8, "minibatch": 7}
        settings |= {} if not settings else {"full_every": 3, "instructions": 4, "demo_sets": 4}
        go_on(self.run, lm, self.reference.world, threads=THREADS, **settings)

    def _note(self) -> None:
        """What was on disk when it was killed; where a write is the point, it is torn first."""
        journal, replies = self.run / "journal.jsonl", self.run / "replies.jsonl"
        if self.phase == "write":
            self.torn += self._tear(journal)
            if self.rng.random() < 0.5:
                self.torn += self._tear(replies)
        self.at[
            self.reference.phase_after(lines(journal)) if self.phase != "write" else "write"
        ] += 1
        digests = {line["digest"] for line in read_lines(replies).objects[1:]}
        self.kept.append((size(self.log) // LINE, digests))

    def _tear(self, path: Path) -> int:
        """Cut the last line at a random byte; it must have one of its own."""
        data = path.read_bytes()
        start = data[:-1].rfind(b"\n") + 1
        path.write_bytes(data[: self.rng.randrange(start, len(data))])
        return 1

    def repeated(self) -> tuple[int, int]:
        """Calls made again although their reply was kept; and those that were only in flight."""
        made = self.log.read_text().split()
        paid_twice = sum(len(digests & set(made[count:])) for count, digests in self.kept)
        return paid_twice, len(made) - len(set(made)) - paid_twice


def main() -> int:
    """Run the points; 0 if every one held."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    report: Counter[str] = Counter()
    at: Counter[str] = Counter()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        references = {name: Reference(name, Path(folder) / f"whole-{name}") for name in WORLDS}
        number = 0
        while report["points"] < arguments.points:
            number += 1
            reference = references[("iris", "twohop")[number % 2]]
            phase = PHASES[report["points"] % len(PHASES)]
            place = Path(folder) / str(number)
            place.mkdir()
            point = Point(reference, place, phase, rng)
            if not point.killed():
                report["over before the kill"] += 1
                continue
            if rng.random() < 0.25:
                point.killed_again()
            held = point.finished()
            paid_twice, in_flight = point.repeated()
            report["points"] += 1
            report["kills"] += len(point.kept)
            report["torn lines"] += point.torn
            report["ends that differ"] += not held
            report["kept replies asked for again"] += paid_twice
            report["calls in flight asked again"] += in_flight
            report["more in flight than threads"] += (
                in_flight > THREADS * len(point.kept) + point.torn
            )
            at += point.at
            shutil.rmtree(place)
    seconds = round(time.monotonic() - started, 1)
    print(json.dumps({**report, "killed in": dict(at), "seconds": seconds}, indent=2))
    faults = ("ends that differ", "kept replies asked for again", "more in flight than threads")
    return int(any(report[fault] for fault in faults))


if __name__ == "__main__":
    sys.exit(main())
