"""Whether a text stands on something: what can be checked without knowing the world, and what stands in given sources.

Without sources: sums written out ("12 + 30 = 42"), and dates (no 30 February; a weekday that was another one). With
sources: every number, every name (a capitalised word that does not begin a sentence) and every quotation of three words or
more must stand in one of them. Nothing else is checked: a text that passes can still be false.
"""

import calendar
import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from ramify.quality.words import words

__all__ = ["CHECKED", "Finding", "ungrounded"]

CHECKED = {
    False: "written sums and calendar dates; nothing about the world, as no sources were given",
    True: "written sums, calendar dates, and that numbers, names and quotations stand in the sources",
}
"""What was looked at, by whether there were sources."""

_NUMBER = r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?"
_SUM = re.compile(
    rf"(?<![\w.+*/×÷=-])({_NUMBER})((?:\s*[-+*/×÷x−]\s*{_NUMBER})+)\s*=\s*\$?({_NUMBER})(?!\s*[-+*/×÷−]\s*\d)(?!\w)"
)
_TERM = re.compile(r"\s*([-+*/×÷x−])\s*(\d+(?:,\d{3})*(?:\.\d+)?)")
_MONTHS = "|".join(name for name in calendar.month_name if name)
_DAYS = "|".join(calendar.day_name)
_DATE = re.compile(
    rf"(?:(?P<weekday>{_DAYS}),?\s+)?(?:(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?P<month>{_MONTHS})"
    rf"|(?P<month2>{_MONTHS})\s+(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\b)(?:,?\s+(?P<year>\d{{4}}))?"
)
_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_NAME = re.compile(r"(?<=[\w,;:’'”\")] )[A-ZÀ-ÖØ-Þ][\w’'-]+")
_QUOTED = re.compile(r"[“\"«]([^”\"»]+)[”\"»]")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A passage that does not hold, and why."""

    passage: str
    why: str


def ungrounded(text: str, sources: Sequence[str] = ()) -> list[Finding]:
    """Everything that fails the checks of this module, in their order."""
    found = [*_sums(text), *_dates(text)]
    if sources:
        found += _unsupported(text, sources)
    return list(dict.fromkeys(found))


def _sums(text: str) -> list[Finding]:
    found = []
    for match in _SUM.finditer(text):
        right = _worked_out(match[1], match[2])
        claimed = _value(match[3])
        if right is not None and claimed is not None and not _same(right, claimed, match[3]):
            found.append(Finding(passage=match[0].strip(), why=f"it is {right.normalize():f}"))
    return found


def _worked_out(first: str, rest: str) -> Decimal | None:
    """Multiplication and division before addition and subtraction, each from the left."""
    start = _value(first)
    if start is None:
        return None
    terms = [start]
    for sign, digits in _TERM.findall(rest):
        value = _value(digits)
        if value is None or (sign in "/÷" and value == 0):
            return None
        if sign in "*×x":
            terms[-1] *= value
        elif sign in "/÷":
            terms[-1] /= value
        else:
            terms.append(value if sign == "+" else -value)
    return sum(terms, Decimal(0))


def _same(right: Decimal, claimed: Decimal, written: str) -> bool:
    places = len(written.partition(".")[2])
    return abs(right - claimed) <= Decimal(1).scaleb(-places) / 2 if right != right.to_integral_value() else right == claimed


def _value(digits: str) -> Decimal | None:
    try:
        return Decimal(digits.replace(",", ""))
    except InvalidOperation:
        return None


def _dates(text: str) -> list[Finding]:
    found = []
    for match in _ISO.finditer(text):
        if _date(int(match[1]), int(match[2]), int(match[3])) is None:
            found.append(Finding(passage=match[0], why="there is no such day"))
    for match in _DATE.finditer(text):
        month = list(calendar.month_name).index(match["month"] or match["month2"])
        number, year = int(match["day"] or match["day2"]), match["year"]
        day = _date(int(year) if year else 2000, month, number)  # without a year, a leap year allows the most
        if day is None:
            found.append(Finding(passage=match[0], why="there is no such day"))
        elif year and match["weekday"] and calendar.day_name[day.weekday()] != match["weekday"]:
            found.append(Finding(passage=match[0], why=f"that day was a {calendar.day_name[day.weekday()]}"))
    return found


def _date(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


def _unsupported(text: str, sources: Sequence[str]) -> list[Finding]:
    known = [words(source) for source in sources]
    single = {word for said in known for word in said}
    joined = [f" {' '.join(said)} " for said in known]
    numbers = {_value(number) for source in sources for number in re.findall(_NUMBER, source)}
    found = [
        Finding(passage=number, why="this number stands in no source")
        for number in re.findall(_NUMBER, text)
        if _value(number) not in numbers
    ]
    for name in _NAME.findall(text):
        if any(word not in single and word.removesuffix("'s") not in single for word in words(name)):
            found.append(Finding(passage=name, why="this name stands in no source"))
    for quoted in _QUOTED.findall(text):
        said = words(quoted)
        if len(said) >= 3 and not any(f" {' '.join(said)} " in source for source in joined):
            found.append(Finding(passage=quoted, why="this quotation stands in no source"))
    return found
