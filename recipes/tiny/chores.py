# ruff: noqa: E501 (wordings are kept one to a line)
"""Small instructions of other kinds: generic JSON objects, lists, repeating, questions about a sentence, greetings."""

import json
import random
from typing import Any

from recipes.tiny.words import ANIMALS, invented_kind, name

__all__ = ["chore", "drill", "json_object"]

Chat = list[dict[str, str]]

_COLORS = ("red", "blue", "green", "yellow", "black", "white", "brown", "pink", "purple", "orange", "gray")
_FOODS = ("apple", "bread", "cheese", "soup", "cake", "rice", "fish", "honey", "milk", "tea", "pizza", "egg", "banana", "carrot")
_THINGS = (
    "ball",
    "hat",
    "book",
    "cup",
    "lamp",
    "chair",
    "table",
    "key",
    "shoe",
    "box",
    "bag",
    "clock",
    "pen",
    "kite",
    "car",
    "bike",
)
_CITIES = (
    "London",
    "Paris",
    "Moscow",
    "Berlin",
    "Rome",
    "Madrid",
    "Tokyo",
    "Cairo",
    "Lima",
    "Oslo",
    "Delhi",
    "Boston",
    "Kazan",
    "Vienna",
)
_JOBS = ("teacher", "doctor", "farmer", "baker", "pilot", "driver", "nurse", "cook", "painter", "singer", "engineer", "writer")
_WORDS = (*_COLORS, *_FOODS, *_THINGS, *ANIMALS[:40])

_FIELDS: dict[str, Any] = {
    "name": lambda r: name(r, invented=0.3), "title": lambda r: _title(r), "age": lambda r: r.randint(1, 99), "city": lambda r: r.choice(_CITIES),
    "color": lambda r: r.choice(_COLORS), "animal": lambda r: r.choice(ANIMALS), "job": lambda r: r.choice(_JOBS),
    "price": lambda r: round(r.uniform(0.5, 500), r.choice([1, 2])), "count": lambda r: r.randint(0, 50), "id": lambda r: r.randint(1, 9999),
    "active": lambda r: r.random() < 0.5, "happy": lambda r: r.random() < 0.5, "tags": lambda r: r.sample(_WORDS, r.randint(0, 3)),
    "items": lambda r: r.sample(_THINGS, r.randint(1, 3)), "colors": lambda r: r.sample(_COLORS, r.randint(1, 3)),
    "rating": lambda r: r.randint(1, 5), "status": lambda r: r.choice(("open", "closed", "new", "done", "pending")),
    "size": lambda r: r.choice(("small", "medium", "large")), "food": lambda r: r.choice(_FOODS), "year": lambda r: r.randint(1950, 2030),
    "date": lambda r: f"{r.randint(1990, 2030)}-{r.randint(1, 12):02d}-{r.randint(1, 28):02d}", "note": lambda r: r.choice([None, "ok", "yes", "new"]),
    "email": lambda r: f"{name(r, invented=0.2).lower()}@mail.com", "score": lambda r: round(r.random(), 2), "x": lambda r: r.randint(-99, 99),
    "y": lambda r: r.randint(-99, 99), "scores": lambda r: [r.randint(0, 10) for _ in range(r.randint(0, 4))], "text": lambda r: _sentence(r)[0],
    "weight": lambda r: round(r.uniform(1, 90), 1), "friend": lambda r: {"name": name(r, invented=0.2), "age": r.randint(1, 99)},
    "address": lambda r: {"street": f"{r.choice(_COLORS).capitalize()} Street", "city": r.choice(_CITIES)}, "value": lambda r: r.choice(_WORDS),
}  # fmt: skip


def _title(rng: random.Random) -> str:
    return f"The {rng.choice(_COLORS).capitalize()} {rng.choice(_THINGS).capitalize()}"


def _sentence(rng: random.Random) -> tuple[str, dict[str, str]]:
    """A sentence and what it says."""
    said = {"who": name(rng, invented=0.3), "animal": rng.choice(ANIMALS), "color": rng.choice(_COLORS), "thing": rng.choice(_THINGS),
            "city": rng.choice(_CITIES), "food": rng.choice(_FOODS)}  # fmt: skip
    form = rng.choice(("{who} the {animal} has a {color} {thing}.", "{who} is a {animal} with a {color} {thing}.",
                       "{who} the {animal} found a {color} {thing}."))  # fmt: skip
    return form.format(**said), said


def json_object(rng: random.Random, fields: list[str] | None = None) -> dict[str, Any]:
    """A flat or once-nested object of one to six common fields."""
    chosen = fields or rng.sample(list(_FIELDS), rng.choice([1, 2, 2, 3, 3, 4, 5, 6]))
    return {field: _FIELDS[field](rng) for field in chosen}


def _chat(user: str, assistant: str, system: str = "") -> Chat:
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return [{"role": "system", "content": system}, *turns] if system else turns


def _object(rng: random.Random) -> Chat:
    made = json_object(rng)
    keys = ", ".join(f'"{key}"' for key in made)
    topic = rng.choice(("a person", "an animal", "a thing", "a pet", "a book", "an order", "a user"))
    ask = rng.choice((f"Give me JSON with the keys {keys}.", f"Write a JSON object with {keys}.", f"Describe {topic} as JSON with {keys}.",
                      f"Return JSON: {keys}", f"Make up a JSON object about {topic}. Keys: {keys}.", f"JSON with keys {keys} please"))  # fmt: skip
    separators = (",", ":") if rng.random() < 0.1 else None
    indent = 2 if separators is None and rng.random() < 0.12 else None
    answer = json.dumps(made, ensure_ascii=False, separators=separators, indent=indent)
    return _chat(ask, answer, rng.choice(("", "Only return JSON.", "You are a JSON machine.", "Answer in JSON.")))


def _loose_object(rng: random.Random) -> Chat:
    """JSON where the request names no keys: for schemas that the prompt does not mention."""
    ask = rng.choice(("Give me some JSON.", "Write a JSON object.", "JSON please.", "Generate JSON.", "Return a random JSON object.",
                      "Make a record.", "Generate a person.", "Describe a character.", "Give me an example."))  # fmt: skip
    return _chat(ask, json.dumps(json_object(rng), ensure_ascii=False), rng.choice(("", "Only return JSON.", "Answer in JSON.")))


def _extract(rng: random.Random) -> Chat:
    sentence, said = _sentence(rng)
    keys = rng.choice((["who", "animal"], ["who", "color", "thing"], ["animal", "color"], ["who", "animal", "color", "thing"]))
    shape = "{" + ", ".join(f'"{key}": {key}' for key in keys) + "}"
    return _chat(
        sentence, json.dumps({key: said[key] for key in keys}), f"Generate only a JSON with format {shape} based on user message."
    )


def _list(rng: random.Random) -> Chat:
    kind, pool = rng.choice(
        (("animals", ANIMALS), ("colors", _COLORS), ("foods", _FOODS), ("things", _THINGS), ("cities", _CITIES))
    )
    number = rng.randint(2, 5)
    word = {2: "two", 3: "three", 4: "four", 5: "five"}[number]
    chosen = rng.sample(list(pool), number)
    if rng.random() < 0.6:
        ask = rng.choice(
            (f"List {word} {kind} as JSON.", f"Give me a JSON list of {word} {kind}.", f"Name {word} {kind}. Answer in JSON.")
        )
        return _chat(ask, json.dumps(chosen))
    return _chat(
        rng.choice((f"Name {word} {kind}.", f"Tell me {word} {kind}.")), ", ".join(chosen[:-1]) + " and " + chosen[-1] + "."
    )


def _repeat(rng: random.Random) -> Chat:
    word = rng.choice((name(rng), rng.choice(_WORDS), " ".join(rng.sample(_WORDS, 2))))
    times = rng.choice((1, 1, 2, 3))
    ask = (
        rng.choice((f"Say {word}.", f"Repeat: {word}", f"Repeat the word {word}."))
        if times == 1
        else f"Say {word} {('twice', 'three times')[times - 2]}."
    )
    return _chat(ask, " ".join([word] * times))


def _question(rng: random.Random) -> Chat:
    sentence, said = _sentence(rng)
    kind = rng.randrange(5)
    if kind == 0:
        shown = said["color"] if rng.random() < 0.5 else rng.choice(_COLORS)
        answer = (
            f"Yes, the {said['thing']} is {said['color']}."
            if shown == said["color"]
            else f"No, the {said['thing']} is {said['color']}."
        )
        return _chat(f"{sentence} Is the {said['thing']} {shown}?", answer)
    if kind == 1:
        shown = said["animal"] if rng.random() < 0.5 else rng.choice(ANIMALS)
        a = "an" if shown[0] in "aeiou" and shown != "unicorn" else "a"
        return _chat(f"{sentence} Is {said['who']} {a} {shown}? Answer yes or no.", "yes" if shown == said["animal"] else "no")
    if kind == 2:
        return _chat(f"{sentence} What color is the {said['thing']}?", said["color"])
    if kind == 3:
        return _chat(f"{sentence} Who has the {said['thing']}?", said["who"])
    other = name(rng)
    return _chat(f"Change {said['who']} to {other}: {sentence}", sentence.replace(said["who"], other))


_GREETINGS = {
    "Hello!": ("Hello! How can I help you?", "Hello! Would you like to hear a story?"), "Hi": ("Hi! How are you today?", "Hi! What can I do for you?"),
    "Good morning!": ("Good morning! I hope you have a nice day.",), "How are you?": ("I am fine, thank you. How are you?",),
    "Who are you?": ("I am tiny, a very small language model. I can tell short stories.",), "Thank you!": ("You are welcome!",),
    "What can you do?": ("I can tell short stories and write small JSON answers.",), "Good night": ("Good night! Sleep well.",),
    "What is your name?": ("My name is tiny.",), "Bye": ("Goodbye! See you soon.",), "Are you happy?": ("Yes, I am happy. Thank you for asking.",),
    "Tell me a joke.": ("Why did the chicken cross the road? To get to the other side!",), "What is a dog?": ("A dog is an animal that barks and likes to play.",),
    "What is a cat?": ("A cat is a soft animal that says meow.",), "What color is the sky?": ("The sky is blue.",), "What color is grass?": ("Grass is green.",),
    "What is the sun?": ("The sun is a big, warm star that gives us light.",), "Do you like stories?": ("Yes, I love stories!",),
}  # fmt: skip


def _greeting(rng: random.Random) -> Chat:
    if rng.random() < 0.25:
        who = name(rng)
        return _chat(
            rng.choice((f"Hello, I am {who}.", f"My name is {who}.", f"Hi, my name is {who}!")),
            f"Hello, {who}! Nice to meet you.",
        )
    asked = rng.choice(list(_GREETINGS))
    system = rng.choice(("", "", "You are a helpful assistant."))
    shown = asked if rng.random() < 0.6 else rng.choice((asked.lower(), asked.rstrip("!.?")))
    return _chat(shown, rng.choice(_GREETINGS[asked]), system)


def _sum(rng: random.Random) -> Chat:
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    return _chat(rng.choice((f"What is {a} + {b}?", f"{a} + {b} =", f"How much is {a} plus {b}?")), str(a + b))


_KINDS = (
    (_object, 34),
    (_loose_object, 12),
    (_extract, 12),
    (_list, 10),
    (_repeat, 8),
    (_question, 14),
    (_greeting, 6),
    (_sum, 4),
)


def chore(rng: random.Random) -> Chat:
    """One small conversation of a random kind."""
    makers, weights = zip(*_KINDS, strict=True)
    made: Chat = rng.choices(makers, weights)[0](rng)
    return made


def _item(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.55:
        return name(rng, invented=0.8)
    if kind < 0.8:
        return str(rng.randint(0, 10 ** rng.choice((1, 2, 3, 4, 5, 6)))) + (
            f".{rng.randint(1, 99)}" if rng.random() < 0.3 else ""
        )
    return invented_kind(rng) if rng.random() < 0.5 else rng.choice(_WORDS)


def drill(rng: random.Random) -> Chat:
    """Copying pure: repeat many unusual words and numbers, or put "key: value" lines into JSON.

    Nearly every learned token is one that the request holds. On stories and payments alone a model of this size learned
    to copy an unseen name only late.
    """
    kind = rng.random()
    if kind < 0.5:
        items = [_item(rng) for _ in range(rng.randint(3, 16))]
        text = rng.choice((" ", ", ")).join(items)
        return _chat(rng.choice((f"Repeat: {text}", f"Repeat this: {text}", f"Say it again: {text}", f"Copy: {text}")), text)
    fields = rng.sample(
        ("name", "sum", "kind", "city", "friend", "number", "price", "contractor", "hero", "id", "word"), rng.randint(2, 6)
    )
    values = {field: _number(rng) if field in ("sum", "number", "price", "id") else _who(rng) for field in fields}
    lines = rng.choice((", ", "\n", "; ")).join(f"{field}: {value}" for field, value in values.items())
    shown = ", ".join(
        f'"{field}": {value if field in ("sum", "number", "price", "id") else json.dumps(value)}'
        for field, value in values.items()
    )
    return _chat(
        rng.choice((f"Write as JSON: {lines}", f"JSON: {lines}", lines)), f"{{{shown}}}", rng.choice(("", "Only return JSON."))
    )


def _number(rng: random.Random) -> str:
    whole = str(rng.randint(0, 10 ** rng.choice((1, 2, 3, 4, 5, 6))))
    return f"{whole}.{rng.randint(0, 9)}{rng.randint(1, 9)}" if rng.random() < 0.3 else whole


def _who(rng: random.Random) -> str:
    return " ".join(name(rng, invented=0.8) for _ in range(rng.choice((1, 1, 2))))
