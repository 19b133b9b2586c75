"""The paper's tasks on real data: each a program, its metric and the paper's splits.

The data are files of their authors', which this project does not hold: `folder` says where they
are looked for. Read `task`, then one task's file; the programs are in `mipro.programs`.
"""

from mipro.tasks.folder import data_folder
from mipro.tasks.task import TASKS, PaperTask, load_task

__all__ = ["TASKS", "PaperTask", "data_folder", "load_task"]
