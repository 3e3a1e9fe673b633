"""Keys and passwords are never written into a workspace: what looks like one is refused, by name, before it is stored.

Nor are they written beside one: a URL is kept without them.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ramify.errors import InputError

__all__ = ["refuse_secrets", "without_password"]

SECRET_NAME = re.compile(
    r"(^|[_\-. ])(api|access|secret|private|auth)[_\-. ]?(key|token)|password|passwd|passphrase|secret$|authorization|credential",
    re.I,
)
SECRET_VALUE = re.compile(r"://[^/\s:@]+:[^/\s@]+@|^(sk|hf|ghp|xox[abp])[-_][A-Za-z0-9_\-]{16,}$|^Bearer\s+\S{12,}", re.I)


def refuse_secrets(value: Any, where: str) -> None:
    """Look through settings (not through prose) for keys and passwords. Raises InputError naming the place."""
    if not value:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if SECRET_NAME.search(str(name)) and inner not in (None, "", False):
                raise InputError(
                    f"{where} has {name!r}; keys and passwords are not kept in a workspace. Put them in the environment"
                )
            refuse_secrets(inner, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            refuse_secrets(inner, f"{where}[{index}]")
    elif isinstance(value, str) and SECRET_VALUE.search(value):
        raise InputError(f"{where} looks like a key or a URL with a password; these are not kept in a workspace")


def without_password(url: str) -> str:
    """The URL without any password: neither before the host nor among its parameters."""
    parts = urlsplit(url)
    if parts.password is None and "password" not in parts.query.lower():
        return url
    user, at, host = parts.netloc.rpartition("@")
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if "password" not in name.lower()]
    return urlunsplit(parts._replace(netloc=user.partition(":")[0] + at + host, query=urlencode(query)))
