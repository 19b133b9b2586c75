"""The Iris world: scikit-learn's 150 real rows, the embedded LM's kernel regression.

Split as in the paper, 75 rows to optimize on (here 40 train, 35 val) and 75 to test.
"""

from __future__ import annotations

from mipro.data import Example, split
from mipro.errors import ConfigError
from mipro.lm.simulated import SimulatedLM
from mipro.metrics import exact_match
from mipro.programs.iris import Iris
from mipro.worlds.world import World

TOLD = {
    "classify": "Look at petal_length and petal_width. setosa: petal_length about 1.5, "
    "petal_width about 0.2. versicolor: petal_length about 4.3, petal_width about 1.3. "
    "virginica: petal_length about 5.6, petal_width about 2.0."
}
FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


def iris_rows() -> list[Example]:
    """The 150 rows, lengths in centimetres. Raises `ConfigError` without scikit-learn."""
    try:
        from sklearn.datasets import load_iris
    except ImportError as error:
        raise ConfigError(
            "the Iris rows come with scikit-learn, which is not installed: pip install scikit-learn"
        ) from error
    data = load_iris()
    return [
        Example(
            {
                **{name: float(x) for name, x in zip(FEATURES, row, strict=True)},
                "species": str(data.target_names[target]),
            },
            inputs=FEATURES,
        )
        for row, target in zip(data.data, data.target, strict=True)
    ]


def iris_world(seed: int = 0) -> World:
    """Iris with the embedded LM."""
    parts = split(iris_rows(), train=40, val=35, test=75, seed=seed)
    lm = SimulatedLM(seed)
    return World("iris", Iris(), exact_match("species"), *parts, lm=lm, told=TOLD)
