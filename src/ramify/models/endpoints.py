"""Where an endpoint that speaks OpenAI's protocol is, whose key it gets, and which server answers there.

An endpoint is described by the owner of this installation (a registry entry, or the environment), never by a request.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from ramify.errors import InputError
from ramify.settings import VARIABLE, Key, Settings, read_key

__all__ = ["OPENAI_URL", "Dialect", "Endpoint", "PrefillStyle"]

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"

Dialect = Literal["openai", "compatible", "vllm", "llama.cpp", "ollama", "openrouter"]
"""Which server answers. `compatible` gets only what OpenAI's own protocol has had from its beginnings."""

PrefillStyle = Literal["continue_final_message", "assistant_turn"]
"""How an endpoint is made to continue a begun answer: vLLM's flag beside the assistant's last turn, or that turn alone."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One server, as its owner describes it. Raises InputError for what cannot be."""

    base_url: str | None = None
    """Such as http://localhost:8000/v1; None: OPENAI_BASE_URL, else OpenAI's own."""
    api_key_env: str | None = None
    """The environment variable that holds the key.

    None: OPENAI_API_KEY where base_url is None too, and no key for a base_url of its own: OpenAI's key is not shown to others.
    """
    dialect: Dialect | None = None
    """None: `openai` at OpenAI's own address, `compatible` elsewhere."""
    prefill: PrefillStyle | None = None
    """None: a prefill of chat messages is refused, as nobody said what this endpoint does with it."""

    def __post_init__(self) -> None:
        if self.base_url is not None:
            object.__setattr__(self, "base_url", _checked_url(self.base_url))
        if self.api_key_env is not None and not VARIABLE.fullmatch(self.api_key_env):
            raise InputError(
                "api_key_env is not the name of an environment variable (capitals, digits and _); "
                "put the key into a variable and give that variable's name"
            )
        for name, allowed in (("dialect", get_args(Dialect)), ("prefill", get_args(PrefillStyle))):
            given = getattr(self, name)
            if given is not None and given not in allowed:
                raise InputError(f"{name} is {given!r}; it must be one of {', '.join(allowed)}, or left out")

    def settle(self, settings: Settings) -> "Endpoint":
        """The same with every None that has a default filled in."""
        address = self.base_url or _checked_url(settings.openai_base_url or OPENAI_URL)
        own: Dialect = "openai" if urlsplit(address).hostname == urlsplit(OPENAI_URL).hostname else "compatible"
        return dataclasses.replace(
            self,
            base_url=address,
            api_key_env=self.api_key_env or (OPENAI_KEY if self.base_url is None or own == "openai" else None),
            dialect=self.dialect or own,
        )

    def key(self, settings: Settings) -> Key | None:
        """The key to send; None for a server that gets none.

        Raises InputError where a key is needed (its variable was named, or it is OpenAI's own address) and is not set.
        """
        settled = self.settle(settings)
        key = read_key(settled.api_key_env) if settled.api_key_env else None
        at_openai = urlsplit(settled.base_url or "").hostname == urlsplit(OPENAI_URL).hostname
        if key is None and settled.api_key_env and (self.api_key_env or at_openai):
            raise InputError(f"{settled.api_key_env} is not set; put the key for {settled.base_url} into that variable")
        return key


def _checked_url(given: str) -> str:
    try:
        parts = urlsplit(given)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or any(ord(c) <= 32 for c in given):
        raise InputError("base_url is not an address; give one such as https://api.openai.com/v1 or http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            f"base_url (at {parts.hostname}) holds a user, password, query or fragment; give the address alone and the key "
            "in an environment variable named by api_key_env"
        )
    return given.rstrip("/")
