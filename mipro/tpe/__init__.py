"""A tree-structured Parzen estimator for categorical choices, to be read in this order.

1. `space`: what is searched: variables, conditions, integer codes
2. `parzen`: densities over it: kernels, mixtures, evidence
3. `evidence`: one kernel for good and bad, its width learned
4. `split`: which trials are good: pooling, shrinkage, γ
5. `acquisition`: where to look next: the argmax of log l - log g
6. `design`: where to begin
7. `history`: what was asked and told
8. `random_search`: the sampler without a model
9. `sampler`: all of it together: ask, tell, best
10. `importance`: how much each variable mattered

It knows nothing of language models, files or clocks, and needs numpy and scipy only.
"""

from mipro.tpe.history import Best, Observation
from mipro.tpe.importance import importance
from mipro.tpe.random_search import RandomSampler
from mipro.tpe.sampler import TPE, Sampler, Settings
from mipro.tpe.space import Choice, Space

__all__ = [
    "TPE",
    "Best",
    "Choice",
    "Observation",
    "RandomSampler",
    "Sampler",
    "Settings",
    "Space",
    "importance",
]
