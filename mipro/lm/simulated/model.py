"""`SimulatedLM`: the embedded language model. No network, no weights, no key.

It is a stand-in whose every number is labelled as simulated. A reply is drawn from a distribution
that is a documented function of the prompt's text (`classify`, `hops`, `answer`); texts about a
task are composed from what the prompt shows (`writer`). A reply depends on (seed, request) alone.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections.abc import Mapping
from functools import lru_cache
from random import Random
from statistics import NormalDist

from mipro import strict
from mipro.errors import ConfigError
from mipro.lm.base import Completion, ContextLengthError, Request, Usage
from mipro.lm.simulated import answer, classify, hops
from mipro.lm.simulated.reader import Asked, Task, read_task, sections
from mipro.lm.simulated.whole import instructions, is_whole
from mipro.lm.simulated.writer import writer_for
from mipro.lm.tokens import estimate_tokens

PER_MESSAGE = 4  # tokens a message costs beside its text
SHARED = 0.5  # correlation, between prompts, of the luck an input has: some are hard for all
_NORMAL = NormalDist()

FOREIGN = (
    "This is mipro's embedded, simulated language model. It reads prompts in the layout that "
    "mipro's adapters write, and found none here."
)
MALFORMED = "I am not sure what is asked of me."

Distribution = Mapping[str, float]


class SimulatedLM:
    """The embedded LM. `SimulatedLM(seed=0)(request)` answers any request this package makes.

    `temperature` is used where a request names none; `latency` seconds pass before each reply;
    a share `malformed` of replies breaks the layout; a prompt above `context_window` tokens (by
    `estimate_tokens`) raises `ContextLengthError`. Safe on many threads; picklable.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        temperature: float = 0.0,
        latency: float = 0.0,
        malformed: float = 0.0,
        context_window: int = 16_384,
    ) -> None:
        if not 0 <= malformed <= 1:
            raise ConfigError(f"malformed={malformed}: a share between 0 and 1 is wanted")
        for name, value in (("temperature", temperature), ("latency", latency)):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ConfigError(f"{name}={value!r}: a number is wanted")
            if not 0 <= value < 1e6:
                raise ConfigError(f"{name}={value!r}: a number from 0 to 1e6 is wanted")
        for name, value in (("seed", seed), ("context_window", context_window)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"{name}={value!r}: a whole number is wanted")
        self.seed, self.temperature, self.latency = seed, temperature, latency
        self.malformed, self.context_window = malformed, context_window

    @property
    def model(self) -> str:
        """Always "simulated"."""
        return "simulated"

    @property
    def identity(self) -> str:
        """Seed and settings: all that its replies depend on, but for the request."""
        return f"simulated:{self.seed}:{self.temperature}:{self.malformed}:{self.context_window}"

    def __call__(self, request: Request, /) -> Completion:
        """Answer a request. Raises `ContextLengthError` only."""
        prompt_tokens = self._prompt_tokens(request)
        if self.latency:
            time.sleep(self.latency)
        replies = [self._reply(request, index) for index in range(request.n)]
        cut = [beginning(reply, request.max_tokens) for reply in replies]
        usage = Usage(prompt_tokens, sum(estimate_tokens(text) for text in cut))
        return Completion(tuple(cut), usage, self.model, "length" if cut != replies else "stop")

    def distribution(self, request: Request) -> Distribution:
        """Every reply there can be to a request about a task's example, with its probability.

        Shapes: reply text → probability, adding to 1; `max_tokens` has not cut the texts yet. A
        text *about* a task (an instruction, a summary) has no such list: the one that would be
        drawn is given, with all the probability. Raises `ContextLengthError` as a call does.
        """
        self._prompt_tokens(request)
        task = read_task(request.messages[:-1])
        return {FOREIGN: 1.0} if task is None else self._options(task, request, 0)

    def _options(self, task: Task, request: Request, index: int) -> Distribution:
        whole = (
            {self._text(task, request, index): 1.0}
            if is_whole(task) or writer_for(task)
            else self._replies(task, request)
        )
        if not self.malformed:
            return whole
        broken = {MALFORMED: self.malformed}
        return {**broken, **{text: p * (1 - self.malformed) for text, p in whole.items()}}

    def _replies(self, task: Task, request: Request) -> Distribution:
        """The replies to an example: the product of the fields' distributions."""
        shown = sections(request.messages[-1].content)
        fields = [_field(task, asked, shown) for asked in task.outputs]
        temperature = self._temperature(request)
        options: dict[str, float] = {}
        for picks in itertools.product(*(heated(f, temperature).items() for f in fields)):
            values = {a.name: text for a, (text, _) in zip(task.outputs, picks, strict=True)}
            reply = _written(task, values)
            options[reply] = options.get(reply, 0.0) + math.prod(p for _, p in picks)
        return options

    def _prompt_tokens(self, request: Request) -> int:
        tokens = sum(PER_MESSAGE + estimate_tokens(m.content) for m in request.messages)
        if tokens > self.context_window:
            raise ContextLengthError(
                f"the prompt has about {tokens} tokens, the simulated model's window "
                f"{self.context_window}: show fewer or shorter demonstrations"
            )
        return tokens

    def _temperature(self, request: Request) -> float:
        return self.temperature if request.temperature is None else request.temperature

    def _reply(self, request: Request, index: int) -> str:
        task = read_task(request.messages[:-1])
        if task is None:
            return FOREIGN
        options = self._options(task, request, index)
        point, total = self._luck(task, request, index), 0.0
        for text, p in options.items():
            total += p
            if point < total:
                return text
        return text  # rounding left the sum a hair below 1

    def _luck(self, task: Task, request: Request, index: int) -> float:
        """A uniform number in (0, 1): partly the input's own luck, partly this prompt's with it.

        The input's own goes by what is asked as well: two modules that are shown the same input
        have nothing to do with one another.
        """
        mine = _normal(self._hash(request, index))
        asked = (field.name for field in task.outputs)
        theirs = _normal(_digest(str(self.seed), *asked, request.messages[-1].content))
        return _NORMAL.cdf(math.sqrt(SHARED) * theirs + math.sqrt(1 - SHARED) * mine)

    def _hash(self, request: Request, index: int) -> bytes:
        """Of seed and request; of the rollout and the sample only where temperature admits them."""
        temperature = self._temperature(request)
        draw = f"{request.rollout}/{index}" if temperature > 0 else ""
        texts = (part for message in request.messages for part in message)
        return _digest(str(self.seed), f"{temperature}", draw, *texts)

    def _text(self, task: Task, request: Request, index: int) -> str:
        """A text about a task, by the writer that fits it."""
        rng = Random(int.from_bytes(self._hash(request, index), "big"))
        shown, temperature = sections(request.messages[-1].content), self._temperature(request)
        values = {asked.name: "" for asked in task.outputs}
        values["reasoning"] = "I put together what I was shown."
        if is_whole(task):
            values |= instructions(shown, rng, temperature)
        elif writer := writer_for(task):
            name, write = writer
            values[name] = write(shown, rng, temperature)
        return _written(task, {asked.name: values[asked.name] for asked in task.outputs})


def heated(options: Distribution, temperature: float) -> Distribution:
    """Temperature flattens: p^(1/(1+T)), normalised. At 0 nothing changes."""
    if temperature <= 0 or len(options) < 2:
        return options
    raised = {text: p ** (1 / (1 + temperature)) for text, p in options.items()}
    total = sum(raised.values())
    return {text: p / total for text, p in raised.items()}


def _field(task: Task, asked: Asked, shown: Mapping[str, str]) -> Distribution:
    """The distribution of one output field, by the skill that fits it."""
    if asked.name == "reasoning":
        return {f"The {task.outputs[-1].name} follows from what is given.": 1.0}
    inputs = {name: shown.get(name, "") for name in task.inputs}
    if asked.choices:
        return classify.label_distribution(_labels(task, asked), inputs)
    question = hops.question_of(inputs)
    if "query" in asked.name:
        return hops.query_distribution(_queries(task, asked.name), inputs)
    if question and hops.passages_of(inputs, question):
        return answer.answer_distribution(_answers(task, asked.name), inputs)
    return classify.label_distribution(_labels(task, asked), inputs) or {_blank(asked, inputs): 1.0}


# a prompt is read once, not once an example
_labels = lru_cache(maxsize=2048)(classify.learn)
_queries = lru_cache(maxsize=2048)(hops.learn)
_answers = lru_cache(maxsize=2048)(answer.learn)


def _blank(asked: Asked, inputs: Mapping[str, str]) -> str:
    """A reply of the right type where the LM has nothing to go by."""
    if "array" in asked.what:
        return "[]"
    if "number" in asked.what:
        return "0"
    return " ".join(" ".join(inputs.values()).split()[:3]) or "unknown"


def _written(task: Task, values: Mapping[str, str]) -> str:
    if task.as_json:
        typed = {a.name: _typed(a, values[a.name]) for a in task.outputs}
        return json.dumps(typed, ensure_ascii=False)
    # what it repeats of its prompt, in brackets even, must not pass for a header
    safe = {name: text.replace("[[ ##", "[ [ ##") for name, text in values.items()}
    parts = [f"[[ ## {name} ## ]]\n{text}" for name, text in safe.items()]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])


def _typed(asked: Asked, text: str) -> object:
    """The JSON value a text stands for, where the field is no text."""
    if asked.what == "text" or asked.what.startswith("one of: "):
        return text
    try:
        return strict.loads(text)
    except ValueError:
        return text


def beginning(text: str, max_tokens: int | None) -> str:
    """The reply's beginning, if it is longer than `max_tokens` (by `estimate_tokens`)."""
    if max_tokens is None or estimate_tokens(text) <= max_tokens:
        return text
    kept = text.encode("utf-8", "surrogatepass")[: 4 * max_tokens]
    return kept.decode("utf-8", "ignore")


def _digest(*texts: str) -> bytes:
    hashed = hashlib.blake2b(digest_size=8)
    for text in texts:
        hashed.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return hashed.digest()


def _normal(digest: bytes) -> float:
    """A standard normal number from 8 bytes; never infinite."""
    return _NORMAL.inv_cdf((int.from_bytes(digest, "big") + 0.5) / 2**64)
