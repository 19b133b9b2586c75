"""Iris: one module, four lengths in, a species out (the paper's tasks Iris and Iris-Typo)."""

from __future__ import annotations

from typing import Literal

from mipro.programs.module import Predict
from mipro.programs.program import Program
from mipro.programs.signature import Input, Output
from mipro.programs.trace import Prediction


class Species:
    """Given the lengths and widths of an iris's sepals and petals, name its species."""

    petal_length: float = Input("in centimetres")
    petal_width: float = Input("in centimetres")
    sepal_length: float = Input("in centimetres")
    sepal_width: float = Input("in centimetres")
    species: Literal["setosa", "versicolor", "virginica"] = Output("the species of the iris")


class Iris(Program):
    """Name the species of an iris from four measurements."""

    def __init__(self) -> None:
        self.classify = Predict(Species)

    def forward(
        self, petal_length: float, petal_width: float, sepal_length: float, sepal_width: float
    ) -> Prediction:
        """One call of `classify`."""
        return self.classify(
            petal_length=petal_length,
            petal_width=petal_width,
            sepal_length=sepal_length,
            sepal_width=sepal_width,
        )


# the data spell "versicolor", this description does not: who follows it is wrong on a third of the
# rows, which a demonstration or an instruction can mend. Any text is a reply that can be read, for
# with the type of `Species` the mistake could not be made. (Said here, since the proposer is shown
# the source of the program.)
class MisspeltSpecies:
    """Given the lengths and widths of an iris's sepals and petals, name its species."""

    petal_length: float = Input("in centimetres")
    petal_width: float = Input("in centimetres")
    sepal_length: float = Input("in centimetres")
    sepal_width: float = Input("in centimetres")
    species: str = Output("setosa, versicolour, or virginica")


class IrisTypo(Program):
    """Name the species of an iris from four measurements."""

    def __init__(self) -> None:
        self.classify = Predict(MisspeltSpecies)

    def forward(
        self, petal_length: float, petal_width: float, sepal_length: float, sepal_width: float
    ) -> Prediction:
        """One call of `classify`."""
        return self.classify(
            petal_length=petal_length,
            petal_width=petal_width,
            sepal_length=sepal_length,
            sepal_width=sepal_width,
        )
