"""A tree-structured Parzen estimator for categorical choices, to be read in this order.

1. `variables`: what is searched: choices, and the conditions under which they are made
2. `space`: their configurations, as integer codes
3. `parzen`: densities over them: kernels and mixtures, l(x) and g(x) as published
4. `evidence`: one kernel for good and bad
5. `split`: which trials are good: pooling, shrinkage, γ
6. `kriging`: which to recommend: shrinkage together with those that share choices
7. `history`, `generator`: what was asked and told; what a search must keep to go on
8. `regression`: what each choice is worth alone
9. `bound`: evidence and this together: P(good | x) and its upper bound
10. `acquisition`: where to look next: the argmax over what has not been seen
11. `sampler`: ask, tell, best; the sampler without a model
12. `design`, `model`, `tpe`: where to begin, what to make of the trials, and all of it together
13. `components`: what it is for a variable, a pair or a choice to matter
14. `importance`: how much each mattered, from the trials

It knows nothing of language models, files or clocks, and needs numpy and scipy only.
"""

from mipro.tpe.components import Effect, Importance, exact_importance
from mipro.tpe.history import Best, Observation
from mipro.tpe.importance import importance
from mipro.tpe.model import Settings
from mipro.tpe.sampler import RandomSampler, Sampler
from mipro.tpe.space import Space
from mipro.tpe.tpe import TPE
from mipro.tpe.variables import Choice

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
