"""Worlds: tasks for the embedded LM whose truth is known.

A world is a program with its data, its metric and its LM; and for any candidate the score it would
have on average is computed exactly, by following every reply the LM might give. So the true
optimum of a slot space is known, and an optimizer's choice can be held against it. Every score
from here is simulated.

Read `world`, then `exact`; `iris` has real rows, `twohop` and `conditional` make their own, and
`misled` has training rows in another form than the rest.
"""

from mipro.worlds.conditional import conditional_world
from mipro.worlds.exact import exact_scores, expected_score, optimum
from mipro.worlds.iris import iris_world
from mipro.worlds.misled import misled_world
from mipro.worlds.null import null_world
from mipro.worlds.twohop import twohop_world
from mipro.worlds.world import WORLDS, World, load_world

__all__ = [
    "WORLDS",
    "World",
    "conditional_world",
    "exact_scores",
    "expected_score",
    "iris_world",
    "load_world",
    "misled_world",
    "null_world",
    "optimum",
    "twohop_world",
]
