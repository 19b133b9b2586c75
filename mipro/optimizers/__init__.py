"""The optimizers: one loop, Algorithm 1 of the paper, and strategies for it.

Read in this order: `task` (what a strategy is given), `slots` (from choices to candidates), `loop`,
`random_search`, `proposing`, `mipro` (also Bayesian bootstrap and 0-shot MIPRO), `optimize`.
"""
