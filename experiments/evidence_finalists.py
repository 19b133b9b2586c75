"""The last choice: sequential halving among the leaders, on examples they were not yet seen on.

Karnin, Koren and Somekh, *Almost optimal exploration in multi-armed bandits*, ICML 2013: with a
fixed budget, every round gives each candidate left an equal part of an equal share, and keeps the
better half. Ours: an example a candidate was seen on would only be seen again, so the looks are at
others, all candidates at the same ones as far as they can; what a round has left over goes to the
rounds to come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mipro.tpe.space import Key

Look = tuple[Key, tuple[int, ...]]  # a candidate, and the examples it is to be evaluated on


def contenders(money: int, examples: int, minibatch: int) -> int:
    """How many leaders to begin with: twice as many as could be seen in full. At least 2."""
    return max(2, 2 * -(-money // max(1, examples - minibatch)))


class Halving:
    """`looks` and `cut` in turn, until `left` holds one. `money` is in examples."""

    def __init__(self, leaders: Sequence[Key], money: int) -> None:
        self.left = list(leaders)
        self.money = money
        self.rounds = max(0, len(self.left) - 1).bit_length()  # ⌈log2 K⌉

    @property
    def over(self) -> bool:
        """Is one left?"""
        return self.rounds == 0

    def looks(self, order: Sequence[int], unseen: Callable[[Key], Sequence[int]]) -> list[Look]:
        """This round's: equal parts, the first unseen ones in `order`. Takes them off the money."""
        each = self.money // self.rounds // len(self.left)
        looks: list[Look] = []
        for key in self.left:
            new = set(unseen(key))
            chosen = [i for i in order if i in new][:each]
            if chosen:
                looks.append((key, tuple(sorted(chosen))))
        self.money -= sum(len(examples) for _, examples in looks)
        return looks

    def cut(self, ranking: Sequence[Key]) -> None:
        """Keep the better half by `ranking`, the best first, which holds all that are left."""
        place = {key: i for i, key in enumerate(ranking)}
        self.left.sort(key=lambda key: place[key])
        del self.left[-(-len(self.left) // 2) :]
        self.rounds -= 1
