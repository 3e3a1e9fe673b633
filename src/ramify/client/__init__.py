"""Document 002's client: `from ramify import Completion`."""

from ramify.client.completion import Completion

__all__ = ["Completion"]
