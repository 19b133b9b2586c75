"""Tips: one line of advice to the proposer on how to write (paper, appendix on the meta-prompt)."""

from __future__ import annotations

from collections.abc import Mapping

from mipro.errors import ConfigError

TIPS: Mapping[str, str] = {
    "none": "",
    "creative": "Be creative: try a way of putting it that nobody has tried.",
    "simple": "Keep it simple: a plain instruction of a sentence or two.",
    "description": "Be descriptive: include every detail that helps to do the task well.",
    "high_stakes": "Raise the stakes: say what depends on the task being done well.",
    "persona": "Give the model a persona that is fit for the task.",
}


def checked_tips(tips: Mapping[str, str]) -> Mapping[str, str]:
    """The tips, if each is a name with a line of text; else `ConfigError`."""
    for name, text in tips.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise ConfigError(f"the tip {name!r}: a line of text is wanted, not {text!r}")
    return tips
