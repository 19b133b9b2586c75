"""One root seed, split into named streams.

Changing how one part of a run draws leaves the draws of the others alone, so two arms of an
experiment can be paired. 0 is a seed like any other.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from mipro.errors import ConfigError

if TYPE_CHECKING:
    from numpy.random import Generator, SeedSequence

STREAMS = ("sampler", "minibatch", "proposer", "bootstrap", "split")


def sequence(seed: int, name: str) -> SeedSequence:
    """The seed sequence of stream `name` (one of `STREAMS`, or "<stream>/<anything>")."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ConfigError(f"seed={seed!r}: a whole number from 0 up is wanted")
    if name.split("/")[0] not in STREAMS:
        raise ConfigError(f"no stream of randomness is called '{name}': {', '.join(STREAMS)}")
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")
    return np.random.SeedSequence(entropy=int(seed), spawn_key=(key,))


def stream(seed: int, name: str) -> Generator:
    """A generator on stream `name` of root `seed`."""
    return np.random.Generator(np.random.PCG64(sequence(seed, name)))
