"""Where an endpoint is: which addresses are taken, and which are this machine's own."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from mipro.errors import ConfigError

OPENAI_URL = "https://api.openai.com/v1"


def checked_url(base_url: str) -> str:
    """`base_url` without a slash at its end. Raises `ConfigError` for one that is no base URL."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"base_url: http(s)://host[:port]/v1 is required, not {base_url!r}.")
    if parts.username is not None or parts.password is not None or parts.query:
        raise ConfigError("base_url: it must hold no user, password or query; pass api_key.")
    return base_url.rstrip("/")


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
