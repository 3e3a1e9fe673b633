# ruff: noqa: E501, SIM905 (wordings are kept one to a line)
"""Names, animals and what is held out of training.

Copying an unseen name is learned from many names, so most names here are invented: two or three syllables put together.
"""

import hashlib
import random

__all__ = [
    "ANIMALS", "CHARACTERS", "CURRENCIES", "HELD_OUT_ANIMALS", "HELD_OUT_NAMES", "MORE_ANIMALS", "REAL_NAMES", "held_out_payment", "invented_kind", "name",
]  # fmt: skip

HELD_OUT_NAMES = frozenset(
    [
        "Sonic",
        "Milo",
        "Pippa",
        "Zander",
        "Odette",
        "Bramble",
        "Quill",
        "Tamsin",
        "Figaro",
        "Luna",
        "Biscuit",
        "Nimbus",
        "Wren",
        "Pickle",
        "Soren",
        "Marigold",
        "Tofu",
        "Juno",
        "Rufus",
        "Clementine",
        "Orlando",
        "Saffron",
        "Basil",
        "Delphine",
        "Mochi",
    ]
)
"""Never in any training row as a generated name; `evaluate.py` asks for them."""

HELD_OUT_ANIMALS = (
    "meerkat", "walrus", "armadillo", "lemur", "platypus", "badger", "toucan", "jaguar", "donkey", "gecko", "ferret", "moose",
    "pelican", "porcupine", "sloth", "gazelle", "lobster", "raven", "hamster", "yak",
)  # fmt: skip

ANIMALS = ["hedgehog", "fox", "rabbit", "bear", "mouse", "squirrel", "owl", "frog", "turtle", "cat", "dog", "puppy", "kitten", "duck", "duckling", "bunny", "lamb", "sheep", "goat", "pony", "horse", "cow", "calf", "pig", "piglet", "hen", "chick", "rooster", "goose", "swan", "sparrow", "robin", "crow", "penguin", "seal", "dolphin", "whale", "fish", "crab", "snail", "bee", "butterfly", "ladybug", "ant", "spider", "caterpillar", "cricket", "firefly", "deer", "fawn", "wolf", "raccoon", "beaver", "otter", "skunk", "mole", "bat", "elephant", "giraffe", "zebra", "lion", "tiger", "monkey", "hippo", "rhino", "camel", "kangaroo", "koala", "panda", "crocodile", "lizard", "snake", "parrot", "peacock", "flamingo", "ostrich", "octopus", "starfish", "seahorse", "chipmunk", "weasel", "dinosaur", "dragon", "unicorn"]  # fmt: skip

MORE_ANIMALS = (
    "aardvark", "antelope", "alligator", "alpaca", "buffalo", "bison", "canary", "cheetah", "chinchilla", "cobra", "condor",
    "cougar", "coyote", "crane", "cuckoo", "dove", "eagle", "eel", "elk", "falcon", "finch", "gorilla", "grasshopper", "gull",
    "hare", "hawk", "heron", "hornet", "hyena", "iguana", "jackal", "jellyfish", "kingfisher", "lark", "leopard", "llama",
    "lynx", "magpie", "mongoose", "mosquito", "moth", "mule", "newt", "nightingale", "opossum", "orangutan", "panther",
    "partridge", "pheasant", "pigeon", "puma", "quail", "ram", "rat", "reindeer", "salamander", "salmon", "shark", "shrew",
    "shrimp", "stork", "swallow", "tadpole", "tapir", "termite", "toad", "tortoise", "trout", "turkey", "viper", "vole",
    "vulture", "wallaby", "warthog", "wasp", "wombat", "woodpecker", "worm", "manatee", "marmot", "mammoth", "griffin",
    "phoenix", "troll", "goblin",
)  # fmt: skip
"""Rarer kinds, of the instruction stage alone."""

CHARACTERS = ("boy", "girl", "robot", "fairy", "elf", "giant", "princess", "prince", "wizard", "snowman", "gnome", "mermaid")

REAL_NAMES = [
    "Mike",
    "Anna",
    "Tom",
    "Lily",
    "Ben",
    "Mia",
    "Sam",
    "Lucy",
    "Max",
    "Emma",
    "Jack",
    "Ella",
    "Leo",
    "Zoe",
    "Tim",
    "Sara",
    "Nick",
    "Kate",
    "Peter",
    "Nina",
    "Paul",
    "Maria",
    "John",
    "Olga",
    "Ivan",
    "Dmitry",
    "Sergey",
    "Elena",
    "Natasha",
    "Boris",
    "Igor",
    "Anton",
    "Vera",
    "Yuri",
    "Alex",
    "Maxim",
    "Oleg",
    "Daria",
    "Katya",
    "Misha",
    "Alice",
    "Bob",
    "Carol",
    "David",
    "Eve",
    "Frank",
    "Grace",
    "Henry",
    "Ivy",
    "James",
    "Karen",
    "Laura",
    "Mark",
    "Nora",
    "Oscar",
    "Paula",
    "Quinn",
    "Rachel",
    "Steve",
    "Tina",
    "Victor",
    "Wendy",
    "Xavier",
    "Yara",
    "Zack",
    "Ahmed",
    "Fatima",
    "Omar",
    "Layla",
    "Ali",
    "Hassan",
    "Aisha",
    "Yusuf",
    "Chen",
    "Wei",
    "Li",
    "Ming",
    "Yuki",
    "Kenji",
    "Hana",
    "Sakura",
    "Jin",
    "Soo",
    "Priya",
    "Raj",
    "Arjun",
    "Anita",
    "Ravi",
    "Carlos",
    "Juan",
    "Sofia",
    "Diego",
    "Elena",
    "Pablo",
    "Lucia",
    "Miguel",
    "Hans",
    "Greta",
    "Klaus",
    "Heidi",
    "Pierre",
    "Marie",
    "Luc",
    "Claire",
    "Marco",
    "Giulia",
    "Luca",
    "Bella",
    "Lars",
    "Ingrid",
    "Sven",
    "Astrid",
    "Kofi",
    "Ama",
    "Kwame",
    "Zuri",
    "Amara",
    "Tariq",
    "Noor",
    "Spot",
    "Fluffy",
    "Coco",
    "Daisy",
    "Rosie",
    "Poppy",
    "Benny",
    "Teddy",
    "Whiskers",
    "Nibbles",
    "Sunny",
    "Ruby",
    "Jasper",
    "Hazel",
    "Toby",
    "Charlie",
    "Lola",
    "Oliver",
    "Simba",
    "Patch",
    "Dotty",
    "Pip",
    "Fern",
    "Bruno",
    "Gus",
    "Otis",
    "Finn",
    "Maple",
    "Ollie",
    "Willow",
    "Penny",
    "Ginger",
    "Snowy",
    "Buddy",
    "Bobo",
    "Momo",
    "Kiki",
    "Lulu",
    "Tito",
    "Nemo",
    "Rex",
    "Archie",
    "Dexter",
    "Felix",
    "Gilbert",
    "Harvey",
    "Iris",
    "Jonah",
    "Kiera",
    "Lionel",
    "Mabel",
    "Nelson",
    "Opal",
    "Percy",
    "Rosa",
    "Stella",
    "Tucker",
    "Ursula",
    "Violet",
    "Walter",
    "Yolanda",
    "Zelda",
    "Andrew",
    "Brian",
    "Cathy",
    "Donna",
    "Eric",
    "Fiona",
    "George",
    "Helen",
    "Ian",
    "Julia",
    "Kevin",
    "Linda",
    "Martin",
    "Nancy",
    "Oscar",
    "Patricia",
    "Robert",
    "Susan",
    "Thomas",
    "Ulrich",
    "Vincent",
    "William",
    "Timmy",
    "Billy",
    "Bobby",
    "Jenny",
    "Molly",
    "Polly",
    "Sally",
    "Suzy",
    "Tommy",
    "Danny",
]

_STARTS = [
    "b",
    "bl",
    "br",
    "c",
    "ch",
    "cl",
    "cr",
    "d",
    "dr",
    "f",
    "fl",
    "fr",
    "g",
    "gl",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "kr",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "pr",
    "qu",
    "r",
    "s",
    "sh",
    "sk",
    "sl",
    "sn",
    "sp",
    "st",
    "str",
    "t",
    "tr",
    "tw",
    "v",
    "w",
    "y",
    "z",
    "th",
]
_VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "ea", "ee", "ie", "oo", "ou", "y"]
_ENDS = ["", "", "", "", "l", "n", "r", "m", "s", "t", "k", "x", "nd", "ck", "ll", "rt", "sh", "p", "b", "zz", "ng"]
_TAILS = ["", "", "", "a", "o", "y", "ie", "us", "in", "el", "is", "bert", "wick", "ton", "lo", "ra", "mo", "pin", "ster", "kin"]


def _invented(rng: random.Random) -> str:
    return _blended(rng) if rng.random() < 0.5 else _of_syllables(rng)


_ORDINARY = (
    "there happy named little wanted together friends loved played could looked found asked liked friend smiled would their "
    "small thought again around lived scared other things tried became about always house because outside every inside "
    "heard pretty never walked better anymore special proud after opened water picked until sorry still careful hugged "
    "ground while happily under great called jumped beautiful showed shiny couldn helped share story everyone people "
    "animals before smile place should strong nodded where angry listen garden tired yummy sunny hands first noise began "
    "right curious family shared worked brave favorite agreed others important forest green please funny clean flowers "
    "cried watch closer trees worry goodbye turned needed another behind different friendly grass ready catch birds kitchen "
    "surprise bright learn colors three explore laugh sometimes moment quickly voice through night floor magic think stayed "
    "stuck close store climb hungry pushed table waved looks lesson broke alone adventure broken touch yellow wrong sweet "
    "sound brought himself really pulled threw waited turns world forgot games reach wished colorful carefully slide filled "
    "someone leaves makes stick mouth scary thank years might finally sleep today mommy picture strange hopped window "
    "talked woods caught enough leave closed bigger wonderful heavy smart dress smiles welcome pictures dirty party white "
    "tight visit remember quiet faster without round herself danced moved dance break wants clothes pretend rabbit wagged "
    "books silly slowly likes amazed course paper light towards squirrel bunny shook barked start forever brown mouse fight "
    "suddenly pieces perfect flower rolled delicious believe brother piece words instead lonely swings dangerous dinner "
    "landed happen truck gentle children across secret parents longer sister throw branch beach hoped enjoy heart bought "
    "rocks sounds noises upset along fixed tasty stories wings shapes drink school whole magical though drove twins missed "
    "chased seemed street field higher thinks comes build forget cream cannot sharp follow saved grateful later owner "
    "gently hello stood feels shoes cookies young treat splash teach blocks anyone front black nearby bench takes dolls "
    "music naughty faces finish castle clouds maybe chair tomorrow paint afraid color problem helpful river places gives "
    "animal money lunch apples songs stars snack dream pocket trouble apple butterfly lovely orange smell patient shake "
    "change village backyard wouldn drank hidden forgive matter tasted shelf breath yelled count lucky treats become spent "
    "journey carry balls furry loves smooth fruit teacher blanket treasure birthday tries sleepy these taste drive clever "
    "candy promise mother asleep stand messy bottle thankful taught which healthy answer sticks empty joined teddy peaceful "
    "corner selfish purple teeth button middle large kicked mistake puddle chase creative hears write almost bucket doctor "
    "basket times mixed taken plants bored happiness bottom generous person monkey hours cries sunshine storm kissed "
    "princess juice passed branches rainbow monster thirsty rough forward shirt fruits yourself wonder hurts washed polite "
    "cloud decide built ruined raced fluffy stronger fence loudly solve dizzy turtle yours eager cloth normal couch grandma "
    "clear houses wrote smelly noisy protect sighed spread locked daddy forth train licked walks lifted bread farmer needs "
    "fancy tower brilliant careless powerful cheese picks meant difficult spoon fairy escape homes scare whenever plate "
    "stone terrible thick ordinary shows plant juicy honey balloon"
).split()
"""Words of stories for children, for the pieces that they are made of."""
_BLENDED_FROM = tuple(
    word for word in (*REAL_NAMES, *ANIMALS, *MORE_ANIMALS, *CHARACTERS, *_ORDINARY) if word.isalpha() and len(word) > 3
)


def _blended(rng: random.Random) -> str:
    """The beginning of one word and the end of another: its pieces are those of real words, its whole can only be copied."""
    first, last = rng.choice(_BLENDED_FROM), rng.choice(_BLENDED_FROM)
    return (first[: rng.randint(2, 5)] + last[-rng.randint(2, 5) :]).lower().capitalize()


def _of_syllables(rng: random.Random) -> str:
    syllables = rng.choice([1, 1, 2, 2, 2])
    made = "".join(rng.choice(_STARTS) + rng.choice(_VOWELS) + rng.choice(_ENDS) for _ in range(syllables))
    if rng.random() < 0.2:
        made = rng.choice(_VOWELS)[0] + made
    return (made + rng.choice(_TAILS)).capitalize()[:12]


def invented_kind(rng: random.Random) -> str:
    """A kind of animal that does not exist, in small letters: its word can only be copied."""
    while (made := _invented(rng).lower()) in HELD_OUT_ANIMALS or made.capitalize() in HELD_OUT_NAMES or len(made) < 3:
        pass
    return made


def name(rng: random.Random, *, invented: float = 0.6) -> str:
    """A name that is not held out; with probability `invented` made of syllables."""
    while True:
        made = _invented(rng) if rng.random() < invented else rng.choice(REAL_NAMES)
        if len(made) > 1 and made not in HELD_OUT_NAMES:
            return made


CURRENCIES: dict[str, tuple[str, ...]] = {
    "RUB": ("rubles", "roubles", "rubles", "Russian rubles", "RUB", "₽", "rub"),
    "USD": ("dollars", "US dollars", "bucks", "dollars", "USD", "$", "usd", "American dollars"),
    "EUR": ("euros", "euro", "euros", "EUR", "€", "eur"),
    "GBP": ("pounds", "British pounds", "pounds sterling", "GBP", "£", "gbp"),
    "JPY": ("yen", "Japanese yen", "JPY", "¥", "yen"),
    "CNY": ("yuan", "Chinese yuan", "CNY", "renminbi"),
    "INR": ("rupees", "Indian rupees", "INR", "₹"),
    "CHF": ("francs", "Swiss francs", "CHF"),
    "KZT": ("tenge", "Kazakh tenge", "KZT"),
    "TRY": ("lira", "Turkish lira", "TRY"),
    "UAH": ("hryvnias", "hryvnia", "UAH"),
    "PLN": ("zloty", "zlotys", "PLN"),
    "CAD": ("Canadian dollars", "CAD"),
    "AUD": ("Australian dollars", "AUD"),
    "KRW": ("won", "Korean won", "KRW"),
    "BRL": ("reais", "Brazilian reais", "BRL"),
    "MXN": ("Mexican pesos", "pesos", "MXN"),
    "SEK": ("Swedish kronor", "SEK", "kronor"),
}
"""ISO codes and the words that mean them."""

_ALWAYS_HELD = {("Mike", "100", "RUB")}


def held_out_payment(contractor: str, amount: str, currency: str) -> bool:
    """Whether (contractor, amount, currency) is kept for evaluation: document 004's own request, and one in fifty by hash."""
    if (contractor, amount, currency) in _ALWAYS_HELD:
        return True
    digest = hashlib.sha256(f"{contractor}|{amount}|{currency}".encode()).digest()
    return digest[0] % 50 == 0 or any(part in HELD_OUT_NAMES for part in contractor.split())
