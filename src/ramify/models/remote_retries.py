"""When an endpoint that failed is asked again."""

import asyncio
import email.utils
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

__all__ = ["RETRIED", "Retries", "retry_after_s"]

RETRIED = (408, 429, 500, 502, 503, 504, 529)
"""Statuses that may pass; 529 is Anthropic's word for overloaded."""


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often, and how patiently, an endpoint is asked again.

    The wait before try i + 1 is first_s * 2**i, at most longest_s, times a random share from 1/2 to 1; a Retry-After that asks
    for more is obeyed, unless it is over `retry_after_s`: then the error is told at once. Nothing is begun after `total_s`.
    """

    tries: int = 4
    first_s: float = 0.5
    longest_s: float = 30.0
    retry_after_s: float = 60.0
    total_s: float = 300.0
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random

    def wait_s(self, tried: int, asked_for_s: float | None, spent_s: float) -> float | None:
        """Seconds to wait after `tried` tries; None to give up."""
        if tried >= self.tries or (asked_for_s or 0.0) > self.retry_after_s:
            return None
        # Bounded before it is raised: 2.0**1024 does not exist.
        own = min(self.longest_s, self.first_s * 2.0 ** min(tried - 1, 60)) * (0.5 + 0.5 * self.jitter())
        wait = max(own, asked_for_s or 0.0)
        return wait if spent_s + wait <= self.total_s else None


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that `retry-after-ms` or `Retry-After` (seconds, or a date) ask for; None: nothing usable."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        given = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d+)?", given, re.ASCII):
            return float(given) * unit
        if given and name == "retry-after":
            try:
                return max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - now)
            except (ValueError, OverflowError):
                return None
    return None
