"""Import, export and readiness for a workspace with models: the exchange counts tokens with what is loaded here."""

from collections.abc import Callable

from ramify.engine.model import Model
from ramify.exchange.planning import CountTokens
from ramify.store.records import Prompt

__all__ = ["token_counter"]


def token_counter(model: Callable[[str], Model]) -> CountTokens:
    """Counts the tokens of prompt and completion, as the named model would have them; its EOS is not counted."""

    def count(name: str, prompt: Prompt, text: str) -> int:
        loaded = model(name)
        ids, _ = loaded.ids_of(prompt)
        return len(ids) + len(loaded.codec.encode(text))

    return count
