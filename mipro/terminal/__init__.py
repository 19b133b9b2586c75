"""What a person sees of a run: live progress, then tables of what was found and what it took.

Read `progress`, then `spending` (forecasts and what was spent) and `result`; `text` is for all.
"""

from mipro.terminal.progress import Progressing
from mipro.terminal.result import show_result
from mipro.terminal.spending import show_forecast
from mipro.terminal.text import SIMULATED, plain

__all__ = ["SIMULATED", "Progressing", "plain", "show_forecast", "show_result"]
