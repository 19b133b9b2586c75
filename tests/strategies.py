"""Hypothesis strategies for what programs are made of."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from hypothesis import strategies as st

import mipro
from mipro.programs.signature import RESERVED, Field, Signature

# header marks, JSON, quotes, line ends of other systems, half a surrogate pair: all may be in data
AWKWARD = [
    "[[ ## answer ## ]]",
    "\n[[ ## completed ## ]]\n",
    "[[[ ## x ## ]]",
    '{"answer": 1}',
    "```json\n[]\n```",
    "null",
    "a\r\nb\u2028c\x85d",
    "{instruction} %s",
    "naïve 日本 🙂",
    "\ud800",
    "\\ud800",
    "'\"`",
]
texts = st.one_of(
    st.sampled_from(AWKWARD), st.text(max_size=12), st.text(st.characters(codec=None))
)
# a reply's text loses its outer white space, and may not be empty
replied_texts = texts.map(str.strip).filter(bool)

names = st.from_regex(r"[a-z][a-z0-9_]{0,7}", fullmatch=True).filter(
    lambda name: name not in RESERVED and name != "reasoning"
)

SCALARS: list[Any] = [str, int, float, bool]
LITERALS: list[Any] = [
    Literal["yes", "no"],
    Literal["Yes", "yes"],
    Literal[1, 2, 30],
    Literal[True, False],
    Literal["'quoted'", "quoted", "a, b"],
    Literal["two words", "-> arrow", "x | y"],
]
types = st.sampled_from(
    [*SCALARS, *LITERALS, *[list[kind] for kind in (*SCALARS, *LITERALS)]]  # type: ignore[valid-type]
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values a module may return in a field of type `kind`."""
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is list:
        inner = get_args(kind)[0]
        return st.lists(texts if inner is str else values(inner), max_size=3)
    return {
        str: replied_texts,
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
    }[kind]


@st.composite
def signatures(draw: st.DrawFn) -> Signature:
    named = draw(st.lists(names, min_size=2, max_size=5, unique=True))
    fields = [Field(name, draw(types), draw(st.sampled_from(["", "what it is"]))) for name in named]
    cut = draw(st.integers(1, len(fields) - 1))
    return Signature(tuple(fields[:cut]), tuple(fields[cut:]), draw(st.text(max_size=20)))


def outputs(signature: Signature) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({f.name: values(f.type) for f in signature.outputs})


def demos(signature: Signature) -> st.SearchStrategy[mipro.Demo]:
    """All outputs, any of the inputs."""
    inputs = {f.name: values(f.type) for f in signature.inputs}
    given = {f.name: values(f.type) for f in signature.outputs}
    return st.builds(
        mipro.Demo, st.fixed_dictionaries(given, optional=inputs), bootstrapped=st.booleans()
    )


def prompts(signature: Signature) -> st.SearchStrategy[mipro.Prompt]:
    instruction = texts.filter(lambda text: bool(text.strip()))
    return st.builds(mipro.Prompt, instruction, st.lists(demos(signature), max_size=3).map(tuple))


def candidates(program: mipro.Program) -> st.SearchStrategy[dict[str, mipro.Prompt]]:
    """Prompts for some of a program's modules."""
    parts = {name: prompts(signature) for name, signature in program.signatures().items()}
    return st.fixed_dictionaries({}, optional=parts)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
examples = st.builds(
    lambda question, more: mipro.Example({**more, "question": question}, inputs=("question",)),
    texts.filter(bool),
    st.dictionaries(st.text(min_size=1, max_size=6), json_values, max_size=3),
)
