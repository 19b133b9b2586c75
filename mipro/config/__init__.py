"""A run described by a TOML file: program, data, metric and LMs, named by import path or file.

Or, in place of the first three, one of the paper's tasks by its name. Paths are relative to the
file. A table or key that is not known is refused, by name.

A config names code of the user's own (program, metric, an LM), which is run as any import is; so a
stranger's config is to be read as a stranger's script is. Nothing else in it is executed. What a
run writes stays below the config's folder: `run_dir` and `cache` may not lead out of it, neither by
`..`, nor as absolute paths, nor by a link. Elsewhere is for the command line (`--run-dir`) and for
Python.

Read `run`, then `parts` (what is tuned) and `models` (the LMs, and what they may cost).
"""

from mipro.config.run import TABLES, RunConfig, load_config

__all__ = ["TABLES", "RunConfig", "load_config"]
