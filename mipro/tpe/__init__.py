"""A tree-structured Parzen estimator for categorical choices, to be read in this order.

1. `variables`: what is searched: choices, and the conditions under which they are made
2. `space`: their configurations, as integer codes
3. `parzen`: densities over them: kernels and mixtures, l(x) and g(x) as published
4. `split`: which trials are good: pooling, shrinkage, γ
5. `acquisition`: where to look next: the argmax over what has not been seen
6. `history`, `sampler`: ask, tell, best, state; the sampler without a model
7. `classic`: TPE as published, of 1 to 6 alone
8. `effects`: what each choice is worth alone
9. `bound`: this and what was seen nearby: P(good | x) where l and g share a kernel
10. `kriging`: which to recommend: shrinkage together with those that share choices
11. `tpe`: 8 to 10 together
12. `components`, `importance`: how much each variable and pair mattered, from the trials

It knows nothing of language models, files or clocks, and needs numpy and scipy only.
"""

from mipro.tpe.classic import Classic
from mipro.tpe.components import Effect, Importance
from mipro.tpe.history import Best, Observation
from mipro.tpe.importance import importance
from mipro.tpe.sampler import RandomSampler, Sampler
from mipro.tpe.space import Space
from mipro.tpe.tpe import TPE, Settings
from mipro.tpe.variables import Choice

__all__ = [
    "TPE",
    "Best",
    "Choice",
    "Classic",
    "Effect",
    "Importance",
    "Observation",
    "RandomSampler",
    "Sampler",
    "Settings",
    "Space",
    "importance",
]
