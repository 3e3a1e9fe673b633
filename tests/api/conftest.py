"""A server on a real socket, for the tests that only ask."""

from collections.abc import Iterator

import pytest
from tests.api.listening import TOKEN, Live, listening

import ramify
from ramify.api.app import create_app


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    """A server on `tiny`, for the whole session, without a workspace. It closes its model at the end, so it has its own."""
    with listening(create_app(token=TOKEN, load=lambda name: ramify.load(name, device="cpu", precision="float32"))) as found:
        yield found
