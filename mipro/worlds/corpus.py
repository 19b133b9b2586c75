"""A small invented country: people, towns, books and companies, and passages about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

_FIRST = "Orla Venn Mirel Tobin Asta Corin Dalia Eskil Fenna Garrick Hedda Ivo Jorun Kester Lysa"
_LAST = "Varga Quill Thorne Askew Brandt Calder Dunmore Eklund Farrow Grieve Holm Ister Janek Kray"
_TOWN_A = "Kar Vel Mor Brum Ost Hal Fen Grim Lind Tarn Wes Yar"
_TOWN_B = "sholm wick dal ford mere stad haven by grove mouth"
_RIVER = "Tove Isk Marn Elde Ruhn Sava Wend Ambel Orn Lethe Drava Nidd Usk Yare Alva Brue Cann Dorn"
_ADJECTIVE = "Silver Hollow Burning Quiet Northern Broken Golden Last Crimson Winter Distant Salt"
_NOUN = "Road Harbour Orchard Lantern Compass Mirror Bridge Garden Voyage Clock"
_TRADE = "Works Mills Foundry Press Shipping Glass Textiles Instruments"
_CRAFT = "cellist painter botanist engineer poet architect chemist sailor"
_GOODS = "glass rope clocks paper salt pottery lenses barrels"


@dataclass(frozen=True)
class Town:
    """A town, and what its passage says of it."""

    name: str
    river: str
    mayor: str
    founded: int
    goods: str

    @property
    def text(self) -> str:
        """The passage."""
        return (
            f"{self.name} is a town in the lowlands. Its river is the {self.river}. Its mayor is "
            f"{self.mayor}. The town was founded in {self.founded}. It is known for {self.goods}."
        )


@dataclass(frozen=True)
class Person:
    """A person, born in one town and schooled in another."""

    name: str
    craft: str
    born: Town
    studied: Town

    @property
    def text(self) -> str:
        """The passage."""
        return (
            f"{self.name} is a {self.craft}. {self.name} was born in {self.born.name} and studied "
            f"in {self.studied.name}."
        )


@dataclass(frozen=True)
class Thing:
    """A book with its author, or a company with its founder and its town."""

    name: str
    maker: Person
    seat: Town | None = None
    year: int = 0

    @property
    def text(self) -> str:
        """The passage."""
        if self.seat is None:
            return (
                f"{self.name} is a novel of {self.year}. Its author is {self.maker.name}. "
                f"It was first printed in {self.maker.studied.name}."
            )
        return (
            f"{self.name} is a company based in {self.seat.name}. Its founder is {self.maker.name}."
        )


@dataclass(frozen=True)
class Country:
    """All of it. `passages` are (title, text) pairs, each title once."""

    towns: tuple[Town, ...]
    people: tuple[Person, ...]
    books: tuple[Thing, ...]
    companies: tuple[Thing, ...]

    @property
    def passages(self) -> list[tuple[str, str]]:
        """Every passage, some hundreds."""
        parts: tuple[Sequence[Town | Person | Thing], ...] = (
            self.towns,
            self.people,
            self.books,
            self.companies,
        )
        return [(it.name, it.text) for part in parts for it in part]


def invent(seed: int = 0) -> Country:
    """A country of 60 towns, 120 people, 60 books and 40 companies; the same for a seed."""
    rng = Random(f"mipro country {seed}")
    town_names = _pairs(_TOWN_A, _TOWN_B, 60, rng, "{}{}".format)
    people_names = _pairs(_FIRST, _LAST, 180, rng, "{} {}".format)
    rivers, goods, crafts = _RIVER.split(), _GOODS.split(), _CRAFT.split()
    towns = tuple(
        Town(name, rng.choice(rivers), people_names[120 + i], 1100 + 7 * i, rng.choice(goods))
        for i, name in enumerate(town_names)
    )
    people = tuple(
        Person(name, rng.choice(crafts), *rng.sample(towns, 2)) for name in people_names[:120]
    )
    titles = _pairs(_ADJECTIVE, _NOUN, 60, rng, "{} {}".format)
    firms = _pairs(_LAST, _TRADE, 40, rng, "{} {}".format)
    books = tuple(Thing(t, rng.choice(people), None, 1900 + i) for i, t in enumerate(titles))
    companies = tuple(Thing(f, rng.choice(people), rng.choice(towns)) for f in firms)
    return Country(towns, people, books, companies)


def _pairs(
    left: str, right: str, count: int, rng: Random, join: Callable[[str, str], str]
) -> list[str]:
    """`count` different combinations, in random order."""
    every = [join(a, b) for a in left.split() for b in right.split()]
    return rng.sample(every, count)
