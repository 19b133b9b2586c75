"""Heart Disease: three opinions on a patient, and a vote that has read them (the paper's task)."""

from __future__ import annotations

from typing import Any

from mipro.programs.module import ChainOfThought
from mipro.programs.program import Program
from mipro.programs.signature import Field, Signature
from mipro.programs.trace import Prediction

# names as in the published file; what is missing there is "unknown"
PATIENT = (
    Field("age", int, "in years"),
    Field("sex", str, "female or male"),
    Field("cp", str, "chest pain: typical angina, atypical angina, non-anginal pain, asymptomatic"),
    Field("trestbps", int, "blood pressure at rest on admission, in mm Hg"),
    Field("chol", int, "serum cholesterol, in mg/dl"),
    Field("fbs", str, "is the fasting blood sugar above 120 mg/dl? true or false"),
    Field("restecg", str, "electrocardiogram at rest"),
    Field("thalach", int, "the highest heart rate reached"),
    Field("exang", str, "does exercise bring on angina? yes or no"),
    Field("oldpeak", float, "ST depression under exercise, relative to rest"),
    Field("slope", str, "of the ST segment at peak exercise: upsloping, flat, downsloping"),
    Field("ca", str, "major vessels coloured by fluoroscopy, 0 to 3"),
    Field("thal", str, "thallium scan: normal, fixed defect, reversible defect"),
)
ANSWER = Field("answer", str, "does the patient have heart disease? yes or no")
OPINION = Signature(
    PATIENT, (ANSWER,), "Given a patient's findings, say whether there is heart disease."
)
VOTE = Signature(
    (Field("opinions", list[str], "what trainee doctors think"), *PATIENT),
    (ANSWER,),
    "Given a patient's findings and the opinions of trainee doctors, which may be wrong, say "
    "whether there is heart disease.",
)
TEMPERATURES = (0.7, 0.71, 0.72)  # as in the paper's program


class HeartDisease(Program):
    """Say whether a patient has heart disease: ask three trainee doctors, then decide."""

    def __init__(self) -> None:
        self.opinions = [ChainOfThought(OPINION, temperature=t) for t in TEMPERATURES]
        self.vote = ChainOfThought(VOTE)

    def forward(self, **patient: Any) -> Prediction:
        """A call of each of `opinions`, then one of `vote`."""
        heard = []
        for opinion in self.opinions:
            said = opinion(**patient)
            heard.append(f"{said.reasoning} So my answer is: {said.answer}")
        return self.vote(opinions=heard, **patient)
