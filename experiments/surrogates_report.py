"""Tables of `surrogates.py`: pooled regret, and its ratio to Optuna's multivariate TPE.

A cluster is a (cell, seed): an instance that all samplers of a table met. Intervals are of 95%,
from a bootstrap that draws seeds anew within each cell, for all samplers and trials at once, so
that ratios are paired. (Where no cell has two seeds, clusters are drawn without regard to cells.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Row = dict[str, Any]
Cluster = tuple[str, str, str, int, int]  # block, family, shape, noise, seed

REFERENCE = "optuna multivariate"
RULES = {"mean": "highest mean", "own": "its own"}
RESAMPLES = 1000


class Regrets:
    """Regrets of the clusters that every sampler has, in the order of ``clusters``."""

    def __init__(self, rows: Iterable[Row], resamples: int = RESAMPLES) -> None:
        found: dict[str, dict[Cluster, Row]] = defaultdict(dict)
        for row in rows:
            found[row["sampler"]][_cluster(row)] = row
        self.samplers = list(found)
        common = set.intersection(*(set(of) for of in found.values()))
        self.clusters = sorted(common)
        if not self.clusters:
            raise ValueError("there is no instance that every sampler met")
        at = set.intersection(*(set(of[c]["regret"]) for of in found.values() for c in common))
        self.at = sorted(int(t) for t in at)
        self.values = {  # (sampler, rule) -> (clusters, trials)
            (name, rule): np.array(
                [[of[c]["regret"][str(t)][rule] for t in self.at] for c in self.clusters]
            )
            for name, of in found.items()
            for rule in RULES
        }
        self.seconds = {
            name: float(np.mean([of[c]["seconds"] for c in self.clusters]))
            for name, of in found.items()
        }
        self.draws = _draws([c[:-1] for c in self.clusters], resamples)  # (resamples, clusters)

    def pooled(self, name: str, rule: str, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean regret over the clusters ``where``: (trials,), and resampled (resamples, trials)."""
        values, draws = self.values[name, rule][where], self.draws[:, where]
        return values.mean(axis=0), draws @ values / draws.sum(axis=1, keepdims=True)

    def where(self, keep: Callable[[Cluster], bool] = lambda cluster: True) -> np.ndarray:
        return np.array([keep(cluster) for cluster in self.clusters])


def _cluster(row: Row) -> Cluster:
    return (row["block"], row["family"], row["shape"], row["noise"], row["seed"])


def _draws(cells: list[tuple[Any, ...]], resamples: int) -> np.ndarray:
    """How often each cluster is drawn, seeds within cells. (resamples, clusters)."""
    rng = np.random.default_rng(0)
    draws = np.zeros((resamples, len(cells)))
    if len(set(cells)) == len(cells):
        cells = [()] * len(cells)
    for cell in sorted(set(cells)):
        columns = [i for i, other in enumerate(cells) if other == cell]
        share = np.full(len(columns), 1 / len(columns))
        draws[:, columns] = rng.multinomial(len(columns), share, size=resamples)
    return draws


def report(rows: Iterable[Row]) -> str:
    """All tables in markdown. ValueError where no instance was met by every sampler."""
    regrets = Regrets(rows)
    everything = regrets.where()
    parts = [
        f"{len(regrets.clusters)} instances, met by each of {len(regrets.samplers)} samplers.",
        "## Normalised simple regret\n" + _regret_table(regrets, everything),
    ]
    if REFERENCE in regrets.samplers:
        parts.append(
            f"## Ratio to {REFERENCE} by the highest mean\n" + _ratio_table(regrets, everything)
        )
        for position, title in ((1, "family"), (2, "shape"), (3, "noise")):
            for kind in dict.fromkeys(sorted(c[position] for c in regrets.clusters)):
                where = regrets.where(lambda c, p=position, k=kind: c[p] == k)
                label = {0: "exact"}.get(kind, f"{kind} examples") if position == 3 else kind
                parts.append(f"### The same, {title}: {label}\n" + _ratio_table(regrets, where))
    return "\n\n".join(parts)


def _regret_table(regrets: Regrets, where: np.ndarray) -> str:
    lines = []
    for name in regrets.samplers:
        for rule, words in RULES.items():
            mean, resampled = regrets.pooled(name, rule, where)
            half = 1.96 * resampled.std(axis=0)
            cells = [f"{m:.3f} ± {h:.3f}" for m, h in zip(mean, half, strict=True)]
            lines.append([name, words, *cells, f"{regrets.seconds[name]:.2f}"])
    return _markdown(["sampler", "rule", *map(str, regrets.at), "s/run"], lines)


def _ratio_table(regrets: Regrets, where: np.ndarray) -> str:
    base, base_resampled = regrets.pooled(REFERENCE, "mean", where)
    lines = []
    for name in regrets.samplers:
        for rule, words in RULES.items():
            if (name, rule) == (REFERENCE, "mean"):
                continue
            mean, resampled = regrets.pooled(name, rule, where)
            with np.errstate(divide="ignore", invalid="ignore"):  # a regret of 0 in a small part
                ratio = mean / base
                low, high = np.nanquantile(resampled / base_resampled, [0.025, 0.975], axis=0)
            cells = [
                f"{r:.2f} [{a:.2f}, {b:.2f}]" for r, a, b in zip(ratio, low, high, strict=True)
            ]
            lines.append([name, words, *cells])
    return _markdown(["sampler", "rule", *map(str, regrets.at)], lines)


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
