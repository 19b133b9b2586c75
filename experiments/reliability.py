"""What replies of no use cost a run, and how many calls they still cost it; printed as a table.

    python experiments/reliability.py          # the table
    python experiments/reliability.py dead     # seconds until a run on a dead endpoint ends

1,000 calls one after the other, over twenty seeds. A share of the prompts never gets a good reply;
each reply to the others is of no use with a given chance. Counted: replies paid for, over one a
call, and calls of the second kind that failed all the same. Two further tries and twelve are the
rules without a credit; the third is `OpenAILM`'s own (`mipro/lm/allowance.py`).
"""

from __future__ import annotations

import random
import socket
import sys
import time
from collections.abc import Callable

import numpy as np

import mipro
from mipro.errors import MiproError
from mipro.lm.allowance import Allowance, Call, Fault
from mipro.lm.faults import FaultProxy
from mipro.lm.simulated import SimulatedLM
from mipro.stats import interval
from mipro.worlds import load_world

CALLS, SEEDS = 1000, 20
DEAD = ("server_error", "rate_limit", "reset", "half_json", "empty")
DEAD += ("wrong_key", "unknown_model", "context_too_small")
MORE = Callable[[Call], bool]


def limited(most: int) -> tuple[MORE, Callable[[Call], None]]:
    """Up to `most` further tries, whatever came of earlier ones."""

    def more(call: Call) -> bool:
        call.useless += 1
        return call.useless <= most

    return more, lambda call: None


def with_credit() -> tuple[MORE, Callable[[Call], None]]:
    """As `OpenAILM` has it by default."""
    shared = Allowance(max_retries=4, max_reasks=12, patience=600.0)
    return lambda call: shared.after_useless(call, Fault.USELESS) is not None, shared.answered


def run(never: float, useless: float, rule: str, seed: int) -> tuple[float, float]:
    """(replies paid a call, share of the prompts that can be answered that were not)."""
    rng = random.Random(seed)
    more, answered = {"2": limited(2), "12": limited(12), "credit": with_credit()}[rule]
    paid = lost = possible = 0
    for _ in range(CALLS):
        hopeless, call = rng.random() < never, Call()
        possible += not hopeless
        while True:
            paid += 1
            if not hopeless and rng.random() >= useless:
                answered(call)
                break
            if not more(call):
                lost += not hopeless
                break
    return paid / CALLS, lost / max(possible, 1)


def main() -> None:
    print(f"{CALLS} calls, {SEEDS} seeds: mean [95% interval]\n")
    print("| never answered | of no use by chance | rule | replies a call | calls lost |")
    print("| --- | --- | --- | --- | --- |")
    for never, useless in ((0, 0.05), (0, 0.417), (0.05, 0.05), (0.05, 0.417), (0.3, 0.0)):
        for rule in ("2", "12", "credit"):
            paid, lost = np.array([run(never, useless, rule, seed) for seed in range(SEEDS)]).T
            low, high = interval(paid)
            print(
                f"| {never:.0%} | {useless:.1%} | {rule} "
                f"| {paid.mean():.3f} [{low:.3f}, {high:.3f}] | {lost.mean():.3%} |"
            )


def ended(name: str, url: str) -> None:
    """Run on a dead endpoint with the default settings, and say when and how that ended."""
    world, start = load_world("twohop"), time.perf_counter()
    lm, parts = mipro.OpenAILM("simulated", base_url=url), {"val": world.val, "test": world.test}
    try:
        mipro.optimize(world.program, world.train, world.metric, lm=lm, **parts, forecasts=False)
    except MiproError as error:
        took = time.perf_counter() - start
        print(f"{name}: {took:.1f} s, {type(error).__name__}", flush=True)


def dead() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        ended("nobody listens", f"http://127.0.0.1:{free.getsockname()[1]}/v1")
    with mipro.Server(SimulatedLM()) as server:
        for fault in DEAD:
            with FaultProxy(server.base_url, {fault: 1.0}) as proxy:
                ended(fault, proxy.base_url)


if __name__ == "__main__":
    dead() if sys.argv[1:] == ["dead"] else main()
