"""Every error this package raises on purpose.

    MiproError
    ├── SignatureError     a signature, or a value for one of its fields, that makes no sense
    ├── CandidateError     a candidate that does not fit the program
    ├── DataError          a file or an example that cannot be used
    ├── MetricError        a metric that returns no usable number
    ├── ConfigError        a setting that is missing, unknown or out of range
    ├── ParseError         a reply in which a module's field is missing or of the wrong type
    ├── RunError           a run that cannot go on (every example failing, no LM given, …)
    └── LMError            a call to a language model that gave no completion (tree in `lm/base.py`)

A message says what was wrong, the value, where it came from, and what to do next.
"""

from __future__ import annotations


class MiproError(Exception):
    """The root of the tree: catch this to catch all that the package raises on purpose."""


class SignatureError(MiproError):
    """A signature, or a value given for one of its fields, that makes no sense."""


class CandidateError(MiproError):
    """A candidate that does not fit the program it is given to."""


class DataError(MiproError):
    """A data file, or one of its examples, that cannot be used."""


class MissingFieldError(DataError, AttributeError, KeyError):
    """A field asked of an example or a prediction that does not hold it.

    Also an `AttributeError` and a `KeyError`, so that `getattr(example, name, default)` and
    `example.get(name)` behave as usual.
    """

    def __str__(self) -> str:
        return Exception.__str__(self)  # a KeyError shows its message in quotes


class MetricError(MiproError):
    """A metric that returned no usable number (None, NaN, text, or below its declared worst)."""


class ConfigError(MiproError):
    """A setting that is missing, unknown, or out of its range."""


class RunError(MiproError):
    """A run that cannot go on: the fault is systemic, not one example's."""


class ParseError(MiproError):
    """A reply that does not hold a field its module must return.

    Attributes: `module` (its name in the program), `field` (None where the reply as a whole is
    unreadable), `reason`, `reply` (the text as it came).
    """

    def __init__(self, module: str, field: str | None, reason: str, reply: str) -> None:
        self.module, self.field, self.reason, self.reply = module, field, reason, reply
        where = f"field '{field}' of module '{module}'" if field else f"module '{module}'"
        super().__init__(f"{where}: {reason}. The reply was:\n{_shown(reply)}")

    def __reduce__(self) -> tuple[type[ParseError], tuple[str, str | None, str, str]]:
        return ParseError, (self.module, self.field, self.reason, self.reply)


def _shown(reply: str, most: int = 600) -> str:
    if not reply.strip():
        return "  (empty)"
    cut = reply if len(reply) <= most else f"{reply[:most]}… ({len(reply)} characters)"
    return "\n".join("  | " + line for line in cut.splitlines())
