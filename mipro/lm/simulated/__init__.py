"""The embedded language model. Read `model` first, then `reader`, `language`, and the skills.

`classify` chooses labels, `hops` writes queries, `answer` answers from passages, `notice`,
`writer` and `whole` write about a task. What it can and cannot do is documented where it does it.
"""

from mipro.lm.simulated.model import SimulatedLM

__all__ = ["SimulatedLM"]
