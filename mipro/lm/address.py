"""Where an endpoint is: which addresses are taken, and which are this machine's own."""

from __future__ import annotations

import functools
import ipaddress
from urllib.parse import urlsplit

from mipro.errors import ConfigError

OPENAI_URL = "https://api.openai.com/v1"


def checked_url(base_url: str) -> str:
    """`base_url` without a slash at its end. Raises `ConfigError` for one that is no base URL."""
    wanted = "base_url: http(s)://host[:port]/v1 is required"
    if not isinstance(base_url, str):
        raise ConfigError(f"{wanted}, a text.")
    try:
        parts = urlsplit(base_url)
        _ = parts.port  # looked at here, as reading it may raise
    except ValueError as error:
        raise ConfigError(f"{wanted} ({error}).") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        # one with an @ in it may hold a password, and one without a colon be a key
        shown = "" if "@" in base_url or ":" not in base_url else f", not {base_url[:200]!r}"
        raise ConfigError(f"{wanted}{shown}.")
    if not base_url.isascii() or not base_url.isprintable():
        raise ConfigError(f"{wanted}, in printable ASCII.")
    if parts.username is not None or parts.password is not None or parts.query:
        raise ConfigError("base_url: it must hold no user, password or query; pass api_key.")
    return base_url.rstrip("/")


@functools.lru_cache  # asked again for every call that has no key
def is_local(base_url: str) -> bool:
    """Whether the endpoint at `base_url` is on loopback."""
    return is_loopback(urlsplit(base_url).hostname or "")


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine to itself only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
