"""Counting tokens without asking the endpoint: for forecasts, and where an endpoint counts nothing.

tiktoken fetches its tables over the network at first use, with no time limit of its own. So they
are loaded on the side, waited for a few seconds, once per process; where they can't be had, counts
are estimates, and a log line on `mipro.tokens` says so, once. `MIPRO_TIKTOKEN=0` in the environment
leaves tiktoken alone: always the estimate, nothing said, no network.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tiktoken

log = logging.getLogger("mipro.tokens")

PATIENCE = 5.0  # seconds to wait for tiktoken's tables
DEFAULT_ENCODING = "o200k_base"  # of the models from gpt-4o on

_encodings: dict[str, tiktoken.Encoding] = {}
_no_tables = threading.Event()  # set once they could not be had: not tried again
_loading = threading.Lock()
_said: set[str] = set()


def estimate_tokens(text: str) -> int:
    """A guess from the text alone: a token for every four UTF-8 bytes, rounded up.

    Four characters a token is OpenAI's rule of thumb for English prose; bytes stretch it to other
    scripts (Chinese: 3/4 token a character). Numbers, code and marked-up text have shorter tokens,
    so it is low there. Its error against tiktoken is not measured here. Deterministic, no state.
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return (size + 3) // 4


def count_tokens(text: str, model: str | None = None) -> int:
    """The tokens of `text` by the tokenizer of `model` (by default that of gpt-4o).

    `estimate_tokens` instead where the model is not one tiktoken knows, or its tables don't load.
    The markup of chat messages is not counted.
    """
    encoding = _encoding(model)
    if encoding is None:
        return estimate_tokens(text)
    return len(encoding.encode_ordinary(text))


def note_estimate(why: str) -> None:
    """Log, once per process and reason, that token counts are estimates."""
    if why not in _said:
        _said.add(why)
        log.warning("Token counts are estimates (a token for four bytes): %s", why)


def _encoding(model: str | None) -> tiktoken.Encoding | None:
    if _no_tables.is_set() or os.environ.get("MIPRO_TIKTOKEN") == "0":
        return None
    name = _encoding_name(model)
    if name is None:
        return None
    if name not in _encodings:
        with _loading:
            if name not in _encodings and not _no_tables.is_set():
                _load(name)
    return _encodings.get(name)


def _encoding_name(model: str | None) -> str | None:
    if model is None:
        return DEFAULT_ENCODING
    import tiktoken  # here, since it takes 50 ms that most runs never need

    try:
        return tiktoken.encoding_name_for_model(model)
    except KeyError:
        return None


def _load(name: str) -> None:
    """Fill `_encodings[name]`, or set `_no_tables`, within `PATIENCE`."""
    failure: list[str] = []

    def fetch() -> None:
        import requests  # what tiktoken fetches with
        import tiktoken

        try:
            _encodings[name] = tiktoken.get_encoding(name)
        except (requests.RequestException, OSError, ValueError) as error:
            failure.append(f"{type(error).__name__}")

    # a daemon, for a fetch that hangs must neither hold the run nor the end of the process
    thread = threading.Thread(target=fetch, name="mipro-tiktoken", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if name not in _encodings:
        _no_tables.set()
        reason = failure[0] if failure else f"no answer in {PATIENCE:g} s"
        note_estimate(
            f"tiktoken's tables could not be loaded ({reason}). Point TIKTOKEN_CACHE_DIR at a copy "
            "of them for exact counts, or set MIPRO_TIKTOKEN=0 to not try."
        )
