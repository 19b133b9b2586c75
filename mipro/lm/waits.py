"""The `openai` client, but for its waits between tries, which end with the caller's time.

The client would sleep for as long as Retry-After says, up to two minutes, whoever is left to wait.
And it would parse the same address for every call. Import it only where `openai` is wanted.
"""

from __future__ import annotations

from typing import Any

import openai

from mipro.lm.allowance import OutOfTime, waited


class OpenAI(openai.OpenAI):
    """As its parent, by whose name it goes at the endpoint too (`User-Agent`)."""

    def __init__(self, **options: Any) -> None:
        self._addresses: dict[str, Any] = {}  # as parsed; those of the calls of one endpoint
        super().__init__(**options)

    def _prepare_url(self, url: str) -> Any:
        if (parsed := self._addresses.get(url)) is None:
            parsed = self._addresses[url] = super()._prepare_url(url)
        return parsed

    def _calculate_retry_timeout(
        self, remaining_retries: int, options: Any, response_headers: Any = None
    ) -> float:
        """Wait here, where the client only wants to know how long, and say that it is done.

        Not in what it calls next: that was renamed between its versions. Raises `OutOfTime`, which
        the client has no hand in.
        """
        pause = super()._calculate_retry_timeout(remaining_retries, options, response_headers)
        if waited(pause):
            return 0.0
        late = OutOfTime()
        late.retries = options.get_max_retries(self.max_retries) - remaining_retries
        raise late
