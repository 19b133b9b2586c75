"""A tree-structured Parzen estimator for categorical choices, to be read in this order.

1. `space`: what is searched: variables, conditions, integer codes
2. `parzen`: densities over it: kernels and mixtures, l(x) and g(x) as published
3. `evidence`: one kernel for good and bad, its width learned
4. `split`: which trials are good: pooling, shrinkage, γ
5. `marginals`: what each choice says alone, and which variables matter
6. `bound`: both together: P(good | x) and its upper bound
7. `acquisition`: where to look next: the argmax over what has not been seen
8. `design`: where to begin
9. `history`: what was asked and told
10. `random_search`: the sampler without a model
11. `sampler`: all of it together: ask, tell, best
12. `components`: what it is for a variable, a pair or a choice to matter
13. `importance`: how much each mattered, from the trials

It knows nothing of language models, files or clocks, and needs numpy and scipy only.
"""

from mipro.tpe.components import Effect, Importance, exact_importance
from mipro.tpe.history import Best, Observation
from mipro.tpe.importance import importance
from mipro.tpe.random_search import RandomSampler
from mipro.tpe.sampler import TPE, Sampler, Settings
from mipro.tpe.space import Choice, Space

__all__ = [
    "TPE",
    "Best",
    "Choice",
    "Effect",
    "Importance",
    "Observation",
    "RandomSampler",
    "Sampler",
    "Settings",
    "Space",
    "exact_importance",
    "importance",
]
