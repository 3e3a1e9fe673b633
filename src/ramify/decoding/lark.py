"""Whether a Lark grammar can ever come to an end.

A rule is productive when some finite text is derived from it. `start: "a" start` is not: text grows for ever, no EOS
is ever allowed, and a parser does not mind. Found here by the least fixed point: a rule is productive once some
alternative of it has only productive parts (Hopcroft, Motwani & Ullman, "generating symbols").
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["count_rules", "endless_rules"]

_HEADER = re.compile(
    r"^[ \t]*[?!]*([A-Za-z_][A-Za-z0-9_-]*)(?:::\w+)?(?:[ \t]*\[[^\]]*\])?(?:\.-?\d+)?[ \t]*:(?!:)", re.MULTILINE
)
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|\#[^\n]*|->\s*\w+)
      | (?P<nested>%\w+\s*(?=\{))
      | (?P<atom>"(?:\\.|[^"\\])*"i?(?:\s*\.\.\s*"(?:\\.|[^"\\])*")?|/(?:\\.|[^/\\\n])+/[a-z]*|<[^>\n]*>)
      | (?P<name>[A-Za-z_][A-Za-z0-9_-]*)
      | (?P<count>~\s*(?P<least>\d+)(?:\s*\.\.\s*\d+)?|\{\s*(?P<lower>\d*)\s*(?:,\s*\d*\s*)?\})
      | (?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)

# One alternative is the names it needs; a rule is its alternatives. Parts that always end need nothing.
_Alternatives = list[frozenset[str]]


def count_rules(grammar: str) -> int:
    """How many rules and terminals a Lark grammar defines, those of embedded blocks too."""
    return sum(1 for _ in _HEADER.finditer(grammar))


def endless_rules(grammar: str) -> list[str]:
    """The rules of a Lark grammar that `start` can reach and that derive no finite text.

    Terminals and embedded `%json`, `%regex` blocks count as ending; `%lark` blocks are looked into.
    """
    found: list[str] = []
    rules: dict[str, _Alternatives] = {}
    for name, body in _definitions(grammar):
        if name.strip("_")[:1].islower():
            alternatives, nested = _Body(body).parse()
            rules[name] = alternatives
            for inner in nested:
                found += endless_rules(inner)
    productive: set[str] = set()
    grown = True
    while grown:
        new = {
            name
            for name, alternatives in rules.items()
            if name not in productive and any(needs <= productive for needs in _known(alternatives, rules))
        }
        grown = bool(new)
        productive |= new
    reachable, queue = {"start"}, ["start"]
    while queue:
        for needs in rules.get(queue.pop(), []):
            queue += needs - reachable
            reachable |= needs
    return found + [name for name in rules if name in reachable and name not in productive]


def _known(alternatives: _Alternatives, rules: Mapping[str, Any]) -> Iterator[frozenset[str]]:
    # Names without a rule are terminals, imports, or errors that the compiler reports.
    return (frozenset(name for name in needs if name in rules) for needs in alternatives)


def _definitions(grammar: str) -> Iterator[tuple[str, str]]:
    lines = re.sub(r"^[ \t]*(//|#)[^\n]*$", "", grammar, flags=re.MULTILINE)
    lines = re.sub(r"^[ \t]*%(ignore|import|declare)\b[^\n]*$", "", lines, flags=re.MULTILINE)
    # Inside an embedded block a key such as `a:` is no header.
    outside = [match for match in _HEADER.finditer(lines) if not _inside_braces(lines, match.start())]
    for match, following in zip(outside, [*outside[1:], None], strict=True):
        yield match[1], lines[match.end() : following.start() if following is not None else len(lines)]


def _inside_braces(text: str, end: int) -> bool:
    depth = 0
    for match in re.finditer(r'"(?:\\.|[^"\\\n])*"|/(?:\\.|[^/\\\n])+/|[{}]', text[:end]):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
    return depth > 0


class _Body:
    """A rule's right-hand side, read into alternatives."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.nested: list[str] = []
        self.at = 0
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            assert match is not None  # `sign` takes any character
            kind, place = str(match.lastgroup), match.end()
            if kind == "nested":
                end = _closing(text, place)
                if match[0].strip() == "%lark":
                    self.nested.append(text[place + 1 : end - 1])
                self.tokens.append(("atom", text[place:end]))
                place = end
            elif kind in ("count", "least", "lower"):
                self.tokens.append(("count", match["least"] or match["lower"] or "0"))
            elif kind != "space":
                self.tokens.append((kind, match[0]))

    def parse(self) -> tuple[_Alternatives, list[str]]:
        return self._alternatives(), self.nested

    def _peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def _alternatives(self) -> _Alternatives:
        found = [self._sequence()]
        while self._peek() == ("sign", "|"):
            self.at += 1
            found.append(self._sequence())
        return [needs for alternatives in found for needs in alternatives]

    def _sequence(self) -> _Alternatives:
        whole: _Alternatives = [frozenset()]
        while self._peek()[0] != "end" and self._peek()[1] not in ("|", ")", "]"):
            part = self._item()
            # A product could grow without bound; the smallest alternatives are what productivity is decided by.
            whole = list(dict.fromkeys(one | other for one in whole for other in part))[:256]
        return whole

    def _item(self) -> _Alternatives:
        kind, text = self._peek()
        self.at += 1
        if (kind, text) in (("sign", "("), ("sign", "[")):
            found = self._alternatives()
            self.at += 1
            if text == "[":
                found = [frozenset(), *found]
        else:
            found = [frozenset([text])] if kind == "name" else [frozenset()]
        while True:
            kind, text = self._peek()
            if (kind, text) in (("sign", "?"), ("sign", "*")) or (kind == "count" and int(text) == 0):
                found = [frozenset(), *found]
            elif (kind, text) != ("sign", "+") and kind != "count":
                return found
            self.at += 1


def _closing(text: str, opening: int) -> int:
    depth = 0
    for match in re.compile(r'"(?:\\.|[^"\\])*"|[{}]').finditer(text, opening):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return len(text)
