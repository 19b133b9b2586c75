"""What is believed of the configurations told, which one leads, and when to look at it in full.

The mean of a few examples flatters the luckiest of many candidates. Before anything leads here its
scores are pooled and shrunk towards the mean of all, by as much as its n is small
(`tpe.split.shrink`); and what leads is evaluated in full before it may be returned.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, final

from mipro.optimizers.task import Kind, Options, Trial
from mipro.tpe.space import Key
from mipro.tpe.split import Pool, shrink


class Believed(NamedTuple):
    """A key, the posterior mean of its score, and the examples behind that."""

    key: Key
    mean: float
    n: int


@final
class Scores:
    """Scores pooled by key, a tuple of `width` choices: one instruction's, or a whole program's."""

    def __init__(self, width: int) -> None:
        self._pool = Pool(width)

    def __contains__(self, key: object) -> bool:
        return key in self._pool.rows

    def add(self, key: Key, trial: Trial) -> None:
        """One more score of `key`, with the examples behind it."""
        self._pool.add(key, trial.score, trial.n)

    def believed(self) -> list[Believed]:
        """All keys, the best first; of equals the earlier."""
        means = shrink(self._pool).mean.tolist()
        rows = zip(self._pool.rows, means, self._pool.n.tolist(), strict=True)
        return sorted((Believed(key, mean, int(n)) for key, mean, n in rows), key=lambda b: -b.mean)


class Beliefs(Protocol):
    """What is believed of the programs told: `Scores`, or a sampler's ranking."""

    def __contains__(self, key: object, /) -> bool:
        """Whether a program was told."""
        ...

    def believed(self) -> list[Believed]:
        """All of them, the best first."""
        ...


@final
class Leading:
    """The full evaluations of a search: one after every S minibatch trials, and one at its end.

    Each is of the leader among the programs told that are not known in full. With trials in
    flight one that finds no leader stays due until one is told. `scores` are those of the
    programs, on minibatches and on all `val` examples.
    """

    def __init__(self, options: Options, val: int, scores: Beliefs) -> None:
        self.options, self.val, self.scores = options, val, scores
        self.known: set[Key] = set()  # in full
        self.out: list[tuple[Key, Kind]] = []  # asked for and not told, in order
        self.asked = 0  # minibatch trials so far
        self.considered = 0  # full evaluations that were due so far
        self.ended = False  # nothing more is to come, though trials may be left

    @property
    def ending(self) -> bool:
        """Whether all minibatch trials were asked for."""
        return self.ended or self.asked >= self.options.trials

    def tell(self, key: Key, trial: Trial) -> None:
        """Take note of a trial whose score was added; they come in the order asked for."""
        del self.out[:1]
        if trial.n == self.val:
            self.known.add(key)

    def due(self) -> Key | None:
        """What is to be evaluated in full now; None where nothing is."""
        every = self.options.full_every
        at_end = self.ending and self.asked % every > 0
        if self.considered >= self.asked // every + at_end:
            return None
        leader = self.not_known()
        self.considered += leader is not None or not self.out
        return leader

    def not_known(self) -> Key | None:
        """The best among those that are neither known in full nor about to be."""
        settled = self.settled()
        return next((b.key for b in self.scores.believed() if b.key not in settled), None)

    def settled(self) -> set[Key]:
        """Programs known in full, or about to be: of them further examples would say nothing."""
        whole = self.options.minibatch >= self.val
        return self.known | {key for key, kind in self.out if whole or kind == "full"}

    def seen(self, key: Key) -> bool:
        """Whether a program was told, or is out."""
        return key in self.scores or any(key == out for out, _ in self.out)
