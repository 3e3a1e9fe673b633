# ruff: noqa: E501 (wordings are kept one to a line)
"""Payment requests in words and the JSON that document 004 asks for."""

import json
import random

from recipes.tiny.words import CURRENCIES, held_out_payment, name

__all__ = ["SYSTEM", "answer", "payment", "request"]

SYSTEM = (
    'You are a strict JSON machine. Generate only a JSON with format {"contractor": name, "sum": decimal, "currency": currency code} '
    "based on user message. You prohibited to discuss. Only return dict in json format."
)
"""Document 004's system prompt, to the letter."""

_SYSTEMS = (
    'You are a JSON machine. Answer only with {"contractor": name, "sum": decimal, "currency": currency code}.',
    'Return only JSON with the keys "contractor", "sum" and "currency". Do not discuss.',
    'Extract the payment. Format: {"contractor": name, "sum": decimal, "currency": currency code}. Only JSON.',
    'You are a strict JSON machine. Generate only a JSON with format {"contractor": name, "sum": decimal, "currency": currency code} '
    "based on user message. Only return JSON.",
)

_FORMS = (
    "Transfer {money} to {who}", "Transfer {money} to {who}", "Transfer {money} to {who}", "Send {money} to {who}",
    "Send {who} {money}", "Pay {money} to {who}", "Pay {who} {money}", "Wire {money} to {who}", "Wire {who} {money}",
    "Please transfer {money} to {who}", "Please send {who} {money}", "Give {who} {money}", "Give {money} to {who}",
    "I want to send {money} to {who}", "I need to pay {who} {money}", "Can you transfer {money} to {who}?",
    "Could you please pay {money} to {who}?", "Make a payment of {money} to {who}", "Make a transfer of {money} to {who}",
    "Remit {money} to {who}", "Move {money} to {who}", "Move {money} to the account of {who}", "I owe {who} {money}",
    "{who} should get {money}", "{who} must receive {money}", "Let {who} have {money}", "Payment: {money}, receiver: {who}",
    "A transfer to {who}: {money}", "transfer {money} to {who}", "send {money} to {who} please", "pay {who} {money} now",
    "Return {money} to {who}", "Donate {money} to {who}", "{money} for {who}", "{money} to {who}", "To {who}: {money}",
)  # fmt: skip


def amount(rng: random.Random) -> str:
    """A sum as JSON writes it: 7, 100, 1250, 99.5, 12.75. Never a trailing zero after the point."""
    kind = rng.random()
    if kind < 0.25:
        return str(rng.choice([10, 15, 20, 25, 30, 40, 50, 60, 75, 80, 90, 100, 120, 150, 200, 250, 300, 400, 500, 700, 1000,
                               1500, 2000, 2500, 3000, 5000, 10000, 20000, 50000, 100000, 1000000]))  # fmt: skip
    if kind < 0.75:
        digits = rng.choice([1, 2, 2, 3, 3, 3, 4, 4, 5, 6])
        return str(rng.randint(10 ** (digits - 1), 10**digits - 1))
    whole = rng.randint(0, 10 ** rng.choice([1, 2, 3, 4]) - 1)
    return f"{whole}.{rng.randint(1, 9)}" if rng.random() < 0.5 else f"{whole}.{rng.randint(0, 9)}{rng.randint(1, 9)}"


def money(rng: random.Random, value: str, currency: str) -> str:
    """The sum and its currency in words, by code or by symbol. Thousands may be parted by commas in the request, never in the answer."""
    word = rng.choice(CURRENCIES[currency])
    shown = f"{int(value):,}" if value.isdigit() and len(value) > 3 and rng.random() < 0.3 else value
    if word in ("$", "€", "£", "¥", "₹"):
        return f"{word}{shown}" if rng.random() < 0.8 else f"{shown}{word}"
    if word == "₽":
        return f"{shown}{word}" if rng.random() < 0.5 else f"{shown} {word}"
    if word == currency and rng.random() < 0.3:
        return f"{currency} {shown}"
    if value == "1" and word.endswith("s"):
        word = word[:-1]
    return f"{shown} {word}"


def answer(contractor: str, value: str, currency: str) -> str:
    """The one canonical completion."""
    return f'{{"contractor": {json.dumps(contractor, ensure_ascii=False)}, "sum": {value}, "currency": "{currency}"}}'


def request(rng: random.Random, contractor: str, value: str, currency: str) -> str:
    """One of many ways to ask for this payment."""
    asked = rng.choice(_FORMS).format(money=money(rng, value, currency), who=contractor)
    if asked[-1].isalnum() and rng.random() < 0.25:
        asked += "."
    return asked


def payment(rng: random.Random) -> list[dict[str, str]]:
    """A conversation of one payment that is not held out."""
    while True:
        contractor = name(rng, invented=0.55)
        if rng.random() < 0.25:
            contractor += " " + name(rng, invented=0.7)
        currency = "RUB" if rng.random() < 0.2 else rng.choice(list(CURRENCIES))
        value = amount(rng)
        if not held_out_payment(contractor, value, currency):
            break
    system = SYSTEM if rng.random() < 0.7 else rng.choice(_SYSTEMS)
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": request(rng, contractor, value, currency)},
        {"role": "assistant", "content": answer(contractor, value, currency)},
    ]
