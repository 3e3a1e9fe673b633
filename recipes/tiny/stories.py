# ruff: noqa: E501 (wordings are kept one to a line)
"""A story grammar: a hero, a place, a wish, an obstacle, a helper, a turn, an ending; and requests for such stories."""

import random
from dataclasses import dataclass

from recipes.tiny.plots import PLOTS
from recipes.tiny.words import ANIMALS, CHARACTERS, HELD_OUT_ANIMALS, HELD_OUT_NAMES, MORE_ANIMALS, invented_kind, name

__all__ = ["ADJECTIVES", "STORYTELLER", "Hero", "article", "hero", "opening", "story", "story_pair"]

STORYTELLER = "You are a storyteller. Generate a story based on user message."
"""Document 004's system prompt, to the letter."""

_SYSTEMS = (
    "You are a storyteller.", "You tell short stories for children.", "You are a kind storyteller. Write a story for the user.",
    "Write a short story.", "You are a helpful assistant.", "You are a storyteller. Tell a story about what the user asks for.",
)  # fmt: skip

_TRAITS: dict[str, tuple[str, ...]] = {
    "tiny": ("{He} was so small that {he} could sleep in a teacup.", "{N} was smaller than an apple.", "{He} was the smallest of all, but {his} heart was big."),
    "little": ("{He} was small, but {he} had big dreams.", "{N} liked to run and play all day.", "{He} had bright eyes and a happy smile."),
    "small": ("{He} was not very big, but {he} was clever.", "Everyone in {P} knew {him}.", "{N} had small feet and a big heart."),
    "big": ("{He} was the biggest of all, and {his} steps went boom, boom, boom.", "{N} was so big that {he} could see over the trees.", "{He} was big and strong, but very gentle."),
    "brave": ("{He} was not afraid of anything.", "{N} always helped those who were scared.", "{He} was never afraid of the dark."),
    "shy": ("{He} liked to hide behind a bush when someone came.", "{N} spoke in a very quiet voice.", "{He} found it hard to say hello."),
    "clever": ("{He} always had a good idea.", "{N} loved to think about hard questions.", "{He} could count all the stars."),
    "sleepy": ("{He} could sleep anywhere, even on a stone.", "{N} yawned all day long.", "{He} loved {his} soft, warm bed."),
    "happy": ("{He} sang a song every morning.", "{N} laughed all day long.", "{He} smiled at everyone."),
    "curious": ("{He} always asked, \"Why?\"", "{N} wanted to know everything.", "{He} looked under every stone and behind every tree."),
    "kind": ("{He} liked to help everyone.", "{N} always had a good word for others.", "{He} was gentle and good."),
    "funny": ("{He} knew the best jokes in {P}.", "{N} made everyone laugh.", "{He} liked to make silly faces."),
    "lonely": ("{He} often sat alone and looked at the clouds.", "{N} wished for someone to talk to.", "{He} had nobody to play with."),
    "young": ("{He} still had a lot to learn.", "{N} wanted to see the whole world.", "{He} lived with {his} mom and dad."),
    "grumpy": ("{He} did not like to smile.", "{N} said \"Hmpf!\" to everyone.", "In the morning, {he} was always in a bad mood."),
    "fluffy": ("{His} fur was as soft as a cloud.", "{N} looked like a little ball of wool.", "Everyone wanted to hug {him}."),
}  # fmt: skip

ADJECTIVES = ("", *_TRAITS)
"""What a hero may be, with nothing as one of them."""

_PLACES = (
    "a green forest", "a quiet village", "a big garden", "a small town", "a sunny meadow", "a deep valley", "a little farm", "the mountains",
    "a warm jungle", "a snowy land", "a park", "a house by the sea", "a hollow tree", "an old castle", "a field of flowers", "a cave by the river",
)  # fmt: skip
_KNOWN = ("the forest", "the village", "the garden", "the town", "the meadow", "the valley", "the farm", "the mountains", "the jungle",
          "the land", "the park", "the land by the sea", "the woods", "the castle", "the field", "the land by the river")  # fmt: skip

_OPENINGS = (
    "Once upon a time, there was {A} named {N}. {He} lived in {p}.", "Once upon a time, in {p}, there lived {A} named {N}.",
    "Once upon a time, there was {A} named {N} who lived in {p}.", "In {p}, there was {A}. {His} name was {N}.",
    "Once there was {A} called {N}. {N} lived in {p}.", "There once was {A} named {N}. {His} home was in {p}.",
    "{N} was {A} who lived in {p}.", "Long ago, {A} named {N} lived in {p}.",
)  # fmt: skip
_CLOSINGS = (
    "The end.", "And they all lived happily ever after.", "And so ended a very good day for {N} the {a}.", "{N} went to bed with a smile.",
    "It was a day that {N} never forgot.",
)  # fmt: skip
_OBJECTS = ("red ball", "blue hat", "toy car", "kite", "yellow scarf", "little drum", "music box", "wooden boat", "teddy bear", "shiny stone",
            "green cup", "picture book", "silver bell", "warm blanket", "magic key", "golden ring", "lamp", "whistle")  # fmt: skip
_FRUITS = (
    "red apples",
    "yellow pears",
    "sweet plums",
    "ripe cherries",
    "big oranges",
    "purple figs",
    "sweet peaches",
    "brown nuts",
)
_SKILLS = ("swim", "sing", "dance", "paint", "whistle", "juggle", "skate", "cook", "fly a kite", "play the drum", "jump very high", "read",
           "ride a bike", "climb trees", "draw")  # fmt: skip
_GAMES = ("hide and seek", "ball", "tag", "music", "with blocks", "games", "cards", "catch")
_TREATS = ("cookies", "honey cake", "warm soup", "berry pie", "bread and jam", "pancakes", "apple cake", "sweet buns")
_THEMES = {
    4: "friendship",
    6: "sharing a home",
    7: "being brave",
    9: "being patient",
    10: "telling the truth",
    11: "sharing",
    12: "a race",
    3: "never giving up",
}


@dataclass(frozen=True)
class Hero:
    """Whom a story is about. `adjective` may be empty."""

    name: str
    kind: str
    adjective: str = ""

    @property
    def phrase(self) -> str:
        """With its article: "a tiny hedgehog"."""
        words = f"{self.adjective} {self.kind}".strip()
        return f"{article(words)} {words}"


def article(words: str) -> str:
    """a or an, by the first letter; "unicorn" begins with a consonant's sound."""
    return "an" if words[0] in "aeiou" and not words.startswith("uni") else "a"


def hero(rng: random.Random, *, rare: bool = False) -> Hero:
    """Anyone but the held-out names and animals; with `rare`, every other of a rarer or invented kind."""
    kind = rng.choice(ANIMALS) if rng.random() < 0.88 else rng.choice(CHARACTERS)
    if rare and rng.random() < 0.5:
        kind = rng.choice(MORE_ANIMALS) if rng.random() < 0.4 else invented_kind(rng)
    adjective = "" if rng.random() < 0.15 else ("tiny" if rng.random() < 0.12 else rng.choice(list(_TRAITS)))
    return Hero(name(rng), kind, adjective)


def story(
    rng: random.Random, who: Hero, plot: int | None = None, place: int | None = None, details: dict[str, str] | None = None
) -> str:
    """Tell one story about `who`, in one paragraph or several."""
    _, beats = PLOTS[rng.randrange(len(PLOTS)) if plot is None else plot]
    where = rng.randrange(len(_PLACES)) if place is None else place
    slots = details or slots_for(rng, who, where)
    sentences = [rng.choice(_OPENINGS)]
    if rng.random() < 0.85:
        sentences.append(rng.choice(_TRAITS.get(who.adjective, _TRAITS["little"])))
    paragraphs = [" ".join(sentences), *(rng.choice(beat) for beat in beats)]
    if rng.random() < 0.3:
        paragraphs.append(rng.choice(_CLOSINGS))
    joined = paragraphs[0]
    broken = rng.random() < 0.5
    for number, paragraph in enumerate(paragraphs[1:]):
        joined += ("\n" if broken and number in (0, 2, 4) else " ") + paragraph
    return joined.format(**slots)


def opening(rng: random.Random, who: Hero) -> str:
    """How a story about `who` begins: the hero, and the place."""
    return rng.choice(_OPENINGS).format(**slots_for(rng, who, rng.randrange(len(_PLACES))))


def slots_for(rng: random.Random, who: Hero, place: int) -> dict[str, str]:
    """What the wordings' slots stand for in one story."""
    male = who.kind in ("boy", "prince", "wizard", "snowman", "giant") or (
        who.kind not in ("girl", "princess", "mermaid") and rng.random() < 0.5
    )
    helper = rng.choice([animal for animal in ANIMALS if animal != who.kind])
    with_article = f"{article(helper)} {helper}"
    helper_name = name(rng, invented=0)  # a model this small mixes two invented names up
    while helper_name == who.name:
        helper_name = name(rng, invented=0)
    he, him, his = ("he", "him", "his") if male else ("she", "her", "her")
    return {
        "N": who.name, "a": who.kind, "A": who.phrase, "he": he, "him": him, "his": his, "He": he.capitalize(), "His": his.capitalize(),
        "himself": "himself" if male else "herself", "his2": "its", "she": "she", "H": helper, "aH": with_article,
        "AH": with_article.capitalize(), "HN": helper_name, "p": _PLACES[place],
        "P": _KNOWN[place], "o": rng.choice(_OBJECTS), "f": rng.choice(_FRUITS), "s": rng.choice(_SKILLS), "g": rng.choice(_GAMES),
        "t": rng.choice(_TREATS),
    }  # fmt: skip


_NAMED = (
    "Generate me a short story about {A} named {N}.", "Generate me a short story about {A} named {N}.", "Generate me a story about {A} named {N}.",
    "Write a short story about {A} named {N}.", "Tell me a story about {A} named {N}.", "Tell me a short story about {A} called {N}.",
    "Write a story about {A} called {N}.", "I want a story about {A} named {N}.", "Please write a story about {N} the {a}.",
    "A story about {A} named {N}, please.", "Can you tell me a story about {A} named {N}?", "tell me about {A} named {N}",
    "Make up a story about {N}, {A}.", "Write a tale about {A} whose name is {N}.", "Story: {A} named {N}.",
    "Create a short story for children. The hero is {A} named {N}.",
)  # fmt: skip
_UNNAMED = (
    "Tell me a story about {A}.",
    "Write a short story about {A}.",
    "Generate me a short story about {A}.",
    "A story about {A}, please.",
)
_MORE = (" {w}", " {w}", " who lives in {p}", " and {hi} friend, {H2} named {HN}")


def story_pair(rng: random.Random, *, rare: bool = False) -> list[dict[str, str]]:
    """A conversation: a request for a story about some hero, and the story."""
    who = hero(rng, rare=rare)
    plot, place = rng.randrange(len(PLOTS)), rng.randrange(len(_PLACES))
    slots = slots_for(rng, who, place)
    extra = ""
    chance = rng.random()
    if chance < 0.30:
        more = rng.choice(_MORE)
        wish = PLOTS[plot][0].format(**slots)
        extra = more.format(**slots, w=wish, hi=slots["his"], H2=f"{article(slots['H'])} {slots['H']}")
    template = rng.choice(_UNNAMED) if rng.random() < 0.08 and not extra else rng.choice(_NAMED)
    asked = template.format(**slots)
    if extra:
        asked = f"{rng.choice(['Generate me', 'Write', 'Tell me', 'I want'])} a {rng.choice(['', 'short '])}story about {who.phrase} named {who.name}{extra}."
    elif rng.random() < 0.08 and plot in _THEMES:
        asked = (
            f"{rng.choice(['Write', 'Tell me', 'Generate me'])} a story about {_THEMES[plot]} with {who.phrase} named {who.name}."
        )
    system = STORYTELLER if rng.random() < 0.6 else rng.choice(_SYSTEMS)
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": story(rng, who, plot, place, slots)}]
    return messages if rng.random() < 0.12 else [{"role": "system", "content": system}, *messages]


assert not set(HELD_OUT_ANIMALS) & {*ANIMALS, *MORE_ANIMALS}, "a held-out animal is in the training list"
assert not HELD_OUT_NAMES & {"Captain"}, "a held-out name is a word of a plot"
