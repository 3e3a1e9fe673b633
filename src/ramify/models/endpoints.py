"""Where an endpoint that speaks OpenAI's protocol or Anthropic's is, whose key it gets, and which server answers there.

An endpoint is described by the owner of this installation (a registry entry, or the environment), never by a request.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from ramify.errors import InputError
from ramify.settings import VARIABLE, Key, Settings, read_key

__all__ = ["ANTHROPIC_URL", "OPENAI_URL", "PROVIDERS", "Dialect", "Endpoint", "PrefillStyle", "fingerprint_at"]

OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"
PROVIDERS = {"openai": OPENAI_URL, "anthropic": ANTHROPIC_URL}
"""What a remote model's name begins with (`openai:NAME`), and where it is asked unless somebody says otherwise."""
KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}

Dialect = Literal["openai", "compatible", "vllm", "llama.cpp", "ollama", "openrouter", "anthropic"]
"""Which server answers. `compatible` gets only what OpenAI's own protocol has had from its beginnings; `anthropic` is spoken to
in Anthropic's Messages protocol, all others in OpenAI's."""

PrefillStyle = Literal["continue_final_message", "assistant_turn"]
"""How an endpoint is made to continue a begun answer: vLLM's flag beside the assistant's last turn, or that turn alone."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One server, as its owner describes it. Raises InputError for what cannot be."""

    base_url: str | None = None
    """Such as http://localhost:8000/v1; None: OPENAI_BASE_URL, else OpenAI's own (ANTHROPIC_BASE_URL, else Anthropic's)."""
    api_key_env: str | None = None
    """The environment variable that holds the key.

    None: OPENAI_API_KEY (ANTHROPIC_API_KEY) where base_url is None too, and no key for a base_url of its own: a provider's key
    is not shown to others.
    """
    dialect: Dialect | None = None
    """None: `openai` at OpenAI's own address, `compatible` elsewhere."""
    prefill: PrefillStyle | None = None
    """None: a prefill of chat messages is refused until somebody says what this endpoint does with it, or its card does.

    Anthropic's protocol documents `assistant_turn`, which is its only one.
    """

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
        if self.dialect == "anthropic" and self.prefill == "continue_final_message":
            raise InputError(
                "prefill is 'continue_final_message', which Anthropic's protocol does not have; it continues an assistant_turn"
            )

    def settle(self, settings: Settings) -> "Endpoint":
        """The same with every None that has a default filled in."""
        provider = self.provider
        said = settings.anthropic_base_url if provider == "anthropic" else settings.openai_base_url
        address = self.base_url or _checked_url(said or PROVIDERS[provider])
        if provider == "anthropic":
            address = address.removesuffix("/v1")  # its paths begin with it
        at_home = urlsplit(address).hostname == urlsplit(PROVIDERS[provider]).hostname
        own: Dialect = "openai" if at_home else "compatible"
        return dataclasses.replace(
            self,
            base_url=address,
            api_key_env=self.api_key_env or (KEYS[provider] if self.base_url is None or at_home else None),
            dialect=self.dialect or own,
            prefill=self.prefill or ("assistant_turn" if provider == "anthropic" else None),
        )

    @property
    def provider(self) -> Literal["openai", "anthropic"]:
        """Whose protocol is spoken."""
        return "anthropic" if self.dialect == "anthropic" else "openai"

    def key(self, settings: Settings) -> Key | None:
        """The key to send; None for a server that gets none.

        Raises InputError where a key is needed (its variable was named, or it is the provider's own address) and is not set.
        """
        settled = self.settle(settings)
        key = read_key(settled.api_key_env) if settled.api_key_env else None
        at_home = urlsplit(settled.base_url or "").hostname == urlsplit(PROVIDERS[self.provider]).hostname
        if key is None and settled.api_key_env and (self.api_key_env or at_home):
            raise InputError(f"{settled.api_key_env} is not set; put the key for {settled.base_url} into that variable")
        return key


def fingerprint_at(base_url: str | None, model: str) -> str:
    """Stands for a model's name at an address: 16 hexadecimal digits. What is behind it the endpoint alone knows."""
    return hashlib.sha256(f"{base_url}\n{model}".encode()).hexdigest()[:16]


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
