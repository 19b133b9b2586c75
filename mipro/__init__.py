"""mipro: tune the instructions and demonstrations of multi-stage language-model programs.

The public face. A name is imported when it is first used, so `import mipro` costs next to nothing
and `mipro.tpe` stands alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mipro import data, errors, lm, metrics, programs, proposers, stats, tasks, tpe, worlds
    from mipro.bootstrapping import Bootstrap, Teacher, bootstrap
    from mipro.data import Example, load_csv, load_jsonl, split
    from mipro.errors import MiproError
    from mipro.evaluation import Evaluation, Outcome, evaluate
    from mipro.improvement import Improvement, Optimism, improvements
    from mipro.lm.base import LM, Completion, LMError, Message, Request, Usage
    from mipro.lm.budget import Budget, BudgetExceeded
    from mipro.lm.cache import Cached
    from mipro.lm.meter import Ledger, Metered, Price
    from mipro.lm.openai import OpenAILM
    from mipro.lm.serve import Server
    from mipro.lm.simulated import SimulatedLM
    from mipro.metrics import Metric, metric
    from mipro.optimizers.estimate import estimate
    from mipro.optimizers.forecast import Forecast
    from mipro.optimizers.optimize import optimize
    from mipro.optimizers.result import Comparison, Result
    from mipro.optimizers.resume import resume
    from mipro.programs.adapter import ChatAdapter, JSONAdapter
    from mipro.programs.module import ChainOfThought, Predict
    from mipro.programs.program import Program
    from mipro.programs.prompt import Demo, Prompt
    from mipro.programs.signature import Input, Output, Signature
    from mipro.programs.trace import ModuleCall, Prediction, Trace
    from mipro.stats import interval, paired_test
    from mipro.tasks.task import PaperTask, load_task

__version__ = "0.1.0"

_HOMES = {
    "mipro.bootstrapping": ("Bootstrap", "Teacher", "bootstrap"),
    "mipro.data": ("Example", "load_csv", "load_jsonl", "split"),
    "mipro.errors": ("MiproError",),
    "mipro.evaluation": ("Evaluation", "Outcome", "evaluate"),
    "mipro.improvement": ("Improvement", "Optimism", "improvements"),
    "mipro.lm.base": ("LM", "Completion", "LMError", "Message", "Request", "Usage"),
    "mipro.lm.budget": ("Budget", "BudgetExceeded"),
    "mipro.lm.cache": ("Cached",),
    "mipro.lm.meter": ("Ledger", "Metered", "Price"),
    "mipro.lm.openai": ("OpenAILM",),
    "mipro.lm.serve": ("Server",),
    "mipro.lm.simulated": ("SimulatedLM",),
    "mipro.metrics": ("Metric", "metric"),
    "mipro.optimizers.estimate": ("estimate",),
    "mipro.optimizers.forecast": ("Forecast",),
    "mipro.optimizers.optimize": ("optimize",),
    "mipro.optimizers.resume": ("resume",),
    "mipro.programs.adapter": ("ChatAdapter", "JSONAdapter"),
    "mipro.programs.module": ("ChainOfThought", "Predict"),
    "mipro.programs.program": ("Program",),
    "mipro.programs.prompt": ("Demo", "Prompt"),
    "mipro.programs.signature": ("Input", "Output", "Signature"),
    "mipro.programs.trace": ("ModuleCall", "Prediction", "Trace"),
    "mipro.optimizers.result": ("Comparison", "Result"),
    "mipro.stats": ("interval", "paired_test"),
    "mipro.tasks.task": ("PaperTask", "load_task"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_ROOMS = (
    "data",
    "errors",
    "lm",
    "metrics",
    "programs",
    "proposers",
    "stats",
    "tasks",
    "tpe",
    "worlds",
)

__all__ = [
    "LM",
    "Bootstrap",
    "Budget",
    "BudgetExceeded",
    "Cached",
    "ChainOfThought",
    "ChatAdapter",
    "Comparison",
    "Completion",
    "Demo",
    "Evaluation",
    "Example",
    "Forecast",
    "Improvement",
    "Input",
    "JSONAdapter",
    "LMError",
    "Ledger",
    "Message",
    "Metered",
    "Metric",
    "MiproError",
    "ModuleCall",
    "OpenAILM",
    "Optimism",
    "Outcome",
    "Output",
    "PaperTask",
    "Predict",
    "Prediction",
    "Price",
    "Program",
    "Prompt",
    "Request",
    "Result",
    "Server",
    "Signature",
    "SimulatedLM",
    "Teacher",
    "Trace",
    "Usage",
    "bootstrap",
    "data",
    "errors",
    "estimate",
    "evaluate",
    "improvements",
    "interval",
    "lm",
    "load_csv",
    "load_jsonl",
    "load_task",
    "metric",
    "metrics",
    "optimize",
    "paired_test",
    "programs",
    "proposers",
    "resume",
    "split",
    "stats",
    "tasks",
    "tpe",
    "worlds",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _ROOMS:
        value = import_module(f"mipro.{name}")
    else:
        raise AttributeError(f"module 'mipro' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
