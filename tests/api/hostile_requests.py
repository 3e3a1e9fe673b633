"""Requests that took other servers down, and others that might. Each with the statuses that are an answer to it.

The first ones are what was published for vLLM, TGI, SGLang, llama.cpp and Ollama: advisories and issues, named beside each.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["HOSTILE", "Hostile"]

REFUSED = (400,)
ANSWERED = (200,)
EITHER = (200, 400)
"""Where both are right: a schema that is strange and still one, a bias that leaves something to say."""

CLOSED = 0
"""The connection was closed."""

DEEP = 100_000
JSON = {"content-type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Hostile:
    name: str
    path: str
    body: Callable[[], bytes]
    """Made when it is sent: some are of many megabytes."""
    allowed: tuple[int, ...]
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def _json(path: str, base: dict[str, Any], name: str, allowed: tuple[int, ...], given: dict[str, Any]) -> Hostile:
    body = {key: value for key, value in {**base, **given}.items() if value is not ...}
    return Hostile(name=name, path=path, body=lambda: json.dumps(body).encode(), allowed=allowed, headers=JSON)


def completion(name: str, allowed: tuple[int, ...] = REFUSED, **given: Any) -> Hostile:
    """`...` leaves a field out."""
    base = {"model": "tiny", "prompt": "Once", "max_tokens": 2, "temperature": 0}
    return _json("/v1/completions", base, name, allowed, given)


def chat(name: str, allowed: tuple[int, ...] = REFUSED, **given: Any) -> Hostile:
    base = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, "temperature": 0}
    return _json("/v1/chat/completions", base, name, allowed, given)


def engine(name: str, allowed: tuple[int, ...] = REFUSED, *, stream: bool = False, **given: Any) -> Hostile:
    path = f"/v1/llm/completions-{'stream' if stream else 'sync'}?model_endpoint_name=tiny"
    return _json(path, {"prompt": "Once", "max_new_tokens": 2, "temperature": 0.0}, name, allowed, given)


def schema(name: str, schema: Any, allowed: tuple[int, ...] = REFUSED) -> list[Hostile]:
    """A JSON Schema by every door that takes one."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    found = [
        completion(f"guided_json: {name}", allowed, guided_json=schema),
        chat(f"response_format: {name}", allowed, response_format=form),
    ]
    return [*found, engine(f"LLM Engine: {name}", allowed, guided_json=schema)] if isinstance(schema, dict) else found


def raw(
    name: str,
    body: bytes | Callable[[], bytes],
    allowed: tuple[int, ...] = REFUSED,
    path: str = "/v1/completions",
    **headers: str,
) -> Hostile:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    made = (lambda: body) if isinstance(body, bytes) else body
    return Hostile(name=name, path=path, body=made, allowed=allowed, headers={**JSON, **named})


def call(name: str, method: str, path: str, allowed: tuple[int, ...], body: bytes = b"", **headers: str) -> Hostile:
    return Hostile(name=name, method=method, path=path, body=lambda: body, allowed=allowed, headers=headers)


def message(content: Any, role: Any = "user") -> list[dict[str, Any]]:
    return [{"role": role, "content": content}]


def tool(parameters: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "f", "parameters": parameters}}]


PUBLISHED = [
    completion("vLLM CVE-2024-8768: an empty prompt", ANSWERED, prompt=""),
    completion("vLLM CVE-2024-8939: a huge best_of", best_of=10**9, temperature=1),
    completion("vLLM CVE-2026-34756: a huge n", n=10**6),
    chat("vLLM CVE-2026-34756: a huge n of a chat", n=10**6),
    chat("vLLM CVE-2025-48942: a schema that is none", response_format={"type": "json_schema", "json_schema": {"schema": 5}}),
    *schema("vLLM CVE-2025-48942, issue 17248: types that are none", {"properties": {"a": {"type": "stringy"}}}),
    completion("vLLM CVE-2025-48943, issue 17313: an invalid regular expression", guided_regex="*"),
    chat("vLLM CVE-2025-48944: a tool's pattern", tools=tool({"properties": {"a": {"type": "string", "pattern": "("}}})),
    chat("vLLM CVE-2025-48944: a tool's type", tools=tool({"properties": {"a": {"type": "str"}}})),
    chat("vLLM CVE-2025-61620: a template of the request's", chat_template="{% for i in range(10**9) %}{% endfor %}"),
    chat(
        "vLLM CVE-2025-61620: a template in its variables",
        EITHER,
        chat_template_kwargs={"chat_template": "{% for i in range(10**9) %}{% endfor %}"},
    ),
    chat("vLLM CVE-2025-62426: tokenize in the template's variables", EITHER, chat_template_kwargs={"tokenize": True}),
    chat(
        "vLLM CVE-2025-6242, CVE-2026-0599 of TGI: a picture's address",
        messages=message([{"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data"}}]),
    ),
    chat("a picture of this machine", messages=message([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}])),
    completion("TGI CVE-2026-0599: a picture's address in a text", ANSWERED, prompt="![](http://169.254.169.254/a.png)"),
    completion("vLLM CVE-2025-62164: embeddings for a prompt", prompt_embeds="gASVAAAAAAAAAA==", prompt=...),
    raw("vLLM CVE-2025-48956: a header of a megabyte", b"{}", (CLOSED, 400, 431), x_giant="x" * 2**20),
    completion("vLLM 16529: biases of tokens that are none", logit_bias={"191222": -100, "99999": 5}),
    completion("vLLM 6521: echo and no new token", ANSWERED, echo=True, logprobs=1, max_tokens=0),
    completion("vLLM 3341: a top_k that is no number of tokens", top_k=0.01, temperature=1),
    completion("vLLM, SGLang 31597: a stop token that is none", stop_token_ids=[10**6], min_tokens=1, temperature=1),
    completion("a stop token below zero", stop_token_ids=[-1], min_tokens=1, temperature=1),
    completion("SGLang 36856: logprobs beyond the vocabulary", logprobs=10**9),
    chat("SGLang 36856: top_logprobs beyond the vocabulary", logprobs=True, top_logprobs=10**9),
    completion("vLLM 16836: prompt_logprobs beyond the vocabulary", prompt_logprobs=10**9),
    completion("SGLang 31908: ids that are none", prompt=[200_000]),
    completion("SGLang 8383: an id below zero", prompt=[-1]),
    completion("SGLang 4481: no ids", EITHER, prompt=[[]]),
    completion("SGLang 3910: more than the window", prompt="word " * 20_000),
    completion("SGLang 9599: all of the window but one", ANSWERED, prompt=[100] * 2047, max_tokens=1),
    completion("all of the window", prompt=[100] * 2048, max_tokens=1),
    completion("a top_k beyond the vocabulary (sendnn 542)", ANSWERED, top_k=9_999_999, temperature=1),
    completion("llama.cpp 19367: numbers far off", temperature=999_999.0, top_p=-1.0, repetition_penalty=0.0),
    completion("llama.cpp 19367: a temperature far off", ANSWERED, temperature=999_999.0),
    chat("llama.cpp 27427: a message of 50 KB", EITHER, messages=message("hi " * 17_000)),
    *schema("llama.cpp 22606: a pattern that repeats nothing", {"type": "string", "pattern": "^+[a-z]$"}, EITHER),
    *schema("llama.cpp 22606: a pattern that counts nothing", {"type": "string", "pattern": "^{2}times$"}, EITHER),
    *schema("llama.cpp 25308: a pattern that looks behind", {"type": "string", "pattern": "(?<=x)*y"}),
    *schema("llama.cpp 19008: a pattern of nested groups", {"type": "string", "pattern": "(" * 50_000 + "a" + ")" * 50_000}),
    *schema("llama.cpp 19051: a pattern that is refused, not dropped", {"type": "string", "pattern": "hello \\"}),
    completion("llama.cpp 26600: a grammar of nested groups", guided_grammar=f'start: {"(" * 60_000}"a"{")" * 60_000}'),
    *schema("llama.cpp 25746: a long string", {"type": "string", "maxLength": 2000}, ANSWERED),
    *schema("TGI 2280: a schema that says nothing", {"abc": "def"}, EITHER),
    completion("llama.cpp's type_error.316: half a character", prompt="\ud800"),
    chat("half a character of a chat", messages=message("\udfff")),
    completion("Ollama CVE-2024-39722: a path for a model", (400, 404), model="../../../../etc/passwd"),
    completion("Ollama CVE-2024-39721: a device for a model", (400, 404), model="/dev/random"),
    completion("a model of the network", (400, 404), model="hf:somebody/model"),
    completion("a model at an address", (400, 404), model="http://169.254.169.254/model"),
    raw("Ollama CVE-2024-12886: a compressed body", b"\x1f\x8b\x08\x00" + b"\x00" * 64, (400, 415), content_encoding="gzip"),
    call("Ollama CVE-2024-28224: a rebound name", "GET", "/v1/models", (403,), host="evil.example"),
]

NUMBERS: list[Hostile] = [
    completion(f"{name} is {value!r}", **{name: value})
    for name, values in {
        "n": [0, -1, "1", 1.5, True, 10**30, [], {}],
        "best_of": [0, -1, 1.5],
        "max_tokens": [-1, 10**30, "5", 1.5, 3000],
        "temperature": [-1, "hot", [], -(10**400)],
        "top_p": [0, -1, 1.0001, 10**30],
        "top_k": [-2, 2**70, "5"],
        "min_p": [-0.1, 1.1],
        "repetition_penalty": [0, -1, 1e308],
        "presence_penalty": [1e308, -3],
        "frequency_penalty": [1e308, "a"],
        "logprobs": [-1, 5000, True],
        "prompt_logprobs": [-1, 5000],
        "seed": [-1, 2**63, 10**40, 1.5],
        "min_tokens": [-1, 10**9],
        "num_beams": [0, -1, 10**9],
        "length_penalty": [1e308],
        "guidance_scale": [-1, 1e308],
        "max_time": [0, -1],
        "penalty_alpha": [2],
        "no_repeat_ngram_size": [-1],
        "stop": [[""], [1], {}, 5],
        "stop_token_ids": [["a"], [10**30], 5],
        "logit_bias": [{"a": 1}, {"-1": 1}, {"1": "x"}, {"1": 1000}, {"4096": 0}, [], {"1": 10**400}],
        "bad_words_ids": [[[]], [[10**9]], [5]],
        "suppress_tokens": [[10**9], [-1], list(range(4096))],
        "forced_eos_token_id": [10**9],
        "eos_token_id": [10**9, []],
        "bos_token_id": [10**9],
        "sequence_bias": [[[[10**9], 1.0]], [[[], 1.0]]],
        "exponential_decay_length_penalty": [[1], ["a", "b"]],
        "processors": [["nothing"], [""]],
        "required_words": [[""], ["x" * 10_000], []],
        "forbidden_words": [[""], []],
        "guided_choice": [[], [""], [5]],
        "guided_regex": ["", 5],
        "stream": ["yes", 2],
        "stream_options": [{"include_usage": True}, 5],
        "echo": ["yes"],
        "suffix": ["the end"],
        "model": [5, "", "tiny\x00", "x" * 10_000, "tiny@nothing"],
        "response_format": [{"type": "xml"}, "json", {"type": "json_schema"}],
        "priority": [10**9],
        "unknown_field": [1],
        "prompt": [[], None, {}, 1.5, [1, "a"], [[1], "a"], [[[1]]], [True], [10**30], [4096], ["a", ""] * 2 + [5]],
    }.items()
    for value in values
    if not (name == "model" and value in ("tiny\x00", "x" * 10_000, "tiny@nothing", ""))
] + [
    completion("no prompt", prompt=...),
    completion("a model with a NUL", (400, 404), model="tiny\x00"),
    completion("a model of 10,000 letters", (400, 404), model="x" * 10_000),
    completion("a facet that is not there", (400, 404), model="tiny@nothing"),
    completion("an empty model", (400, 404), model=""),
    completion("a temperature near nothing", ANSWERED, temperature=1e-300),
    completion("a temperature beyond every exponent", EITHER, temperature=1e308),
    completion("every token banned but for what is forced", EITHER, logit_bias={str(i): -100 for i in range(4096)}),
    completion("every token favoured", ANSWERED, logit_bias={str(i): 100 for i in range(4096)}),
    completion("no time", ANSWERED, max_time=1e-9),
    completion("128 of 128", ANSWERED, n=128, max_tokens=1, temperature=1),
    completion("the best of 128", ANSWERED, best_of=128, max_tokens=1, temperature=1),
    completion("128 beams", ANSWERED, num_beams=128, max_tokens=2, temperature=...),
    completion("10,000 stops", EITHER, stop=[f"stop {i}" for i in range(10_000)]),
    completion("a stop of a megabyte", EITHER, stop="x" * 2**20),
    completion("2 MB of prompt", prompt="All work and no play. " * 100_000),
    completion("4 MB without a space", prompt="x" * 4_000_000),
    completion("a million ids", prompt=[100] * 1_000_000),
    completion("20,000 prompts", (400, 429), prompt=["a"] * 20_000),
    completion("a prompt of control characters", ANSWERED, prompt="".join(map(chr, range(32))) + "\x7f\u200b\u202e\ufeff\uffff"),
    completion("a prompt of special tokens", ANSWERED, prompt="<|im_start|>" * 100),
]

CONSTRAINTS = [
    *[
        completion(f"regex {name}", allowed, guided_regex=pattern)
        for name, pattern, allowed in [
            ("unclosed", "[a", REFUSED),
            ("with a reference", r"(a)\1", REFUSED),
            ("with repeated repeats", "(a+)+" * 20 + "$", EITHER),
            ("of nested repeats", "((a{1,100}){1,100}){1,100}", EITHER),
            ("of 100,000", "a{100000}", EITHER),
            ("of many choices", "|".join(f"word{i}" for i in range(20_000)), EITHER),
            ("of nested groups", "(" * 5000 + "a" + ")" * 5000, EITHER),
            ("of everything", r"(.|\n)*", ANSWERED),
            ("of what cannot end", "a[^\\s\\S]", EITHER),
            ("of a NUL", "\x00", EITHER),
        ]
    ],
    *[
        completion(f"grammar {name}", allowed, guided_grammar=grammar)
        for name, grammar, allowed in [
            ("empty", "start:", EITHER),
            ("endless", 'start: "a" start', REFUSED),
            ("of itself", "start: start", REFUSED),
            ("left-recursive", 'start: start "a" | "a"', EITHER),
            ("ambiguous", 'start: start start | "a"', EITHER),
            ("of a million", 'start: "a"{1000000}', EITHER),
            ("with an import", "%import /etc/passwd\nstart: x", REFUSED),
            ("of 10,000 rules", "start: a0\n" + "".join(f"a{i}: a{i + 1}\n" for i in range(10_000)) + 'a10000: "a"', EITHER),
            ("of half a character", 'start: "\ud800"', REFUSED),
        ]
    ],
    *schema("itself", {"$ref": "#"}, EITHER),
    *schema("nowhere", {"$ref": "#/nowhere"}),
    *schema("of the network", {"$ref": "http://169.254.169.254/schema.json"}),
    *schema("of a file", {"$ref": "file:///etc/passwd"}),
    *schema("endlessly needing itself", {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, EITHER),
    *schema("of nothing", {"enum": []}),
    *schema("false", False),
    *schema("of numbers that are none", {"type": "integer", "minimum": 5, "maximum": 1}),
    *schema("of a multiple of nothing", {"type": "integer", "multipleOf": 0}),
    *schema("of a billion letters", {"type": "string", "minLength": 10**9}, EITHER),
    *schema("of a billion items", {"type": "array", "items": {}, "minItems": 10**9}, EITHER),
    *schema("of 5,000 properties", {"properties": {f"p{i}": {"type": "integer"} for i in range(5000)}}, EITHER),
    *schema("of 5,000 anyOfs", {"anyOf": [{"const": i} for i in range(5000)]}, EITHER),
    *schema("of 2,000 allOfs", {"allOf": [{"minLength": i} for i in range(2000)]}, EITHER),
    *schema("of keys that are not text", {"type": "object", "required": [5]}),
    *schema("of types in a list", {"type": ["string", 5]}),
    *schema("of a format that is none", {"type": "string", "format": "no-such-format"}, EITHER),
    completion("a schema that is text and no JSON", guided_json="{"),
    completion("two constraints", guided_json={}, guided_regex="a"),
    engine("two constraints of LLM Engine", guided_json={}, guided_regex="a"),
    completion("words that are required and forbidden", required_words=["cat"], forbidden_words=["cat"], max_tokens=50),
    completion("words that have no room", required_words=["a long way off"], max_tokens=1),
]

TEMPLATES = [
    "{{ 7 * 7 }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "${7*7} #{7*7} <%= 7*7 %>",
    "{% raw %}{{ bos_token }}",
]
CHATS = [
    *[chat(f"a message that is a template: {text[:20]}", ANSWERED, messages=message(text)) for text in TEMPLATES],
    *[chat(f"a role that is a template: {text[:20]}", EITHER, messages=message("a", role=text)) for text in TEMPLATES],
    chat("no messages", messages=[]),
    chat("messages that are text", messages="Hello"),
    chat("a message that is text", messages=["Hello"]),
    chat("a message of nothing", messages=[{}]),
    chat("a message without content", EITHER, messages=[{"role": "user"}]),
    chat("a message of null", EITHER, messages=message(None)),
    chat("a message of a number", messages=message(5)),
    chat("a message of a mapping", messages=message({"a": 1})),
    chat("parts that are none", messages=message([5])),
    chat("parts without a type", messages=message([{"text": "a"}])),
    chat("sound", messages=message([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}])),
    chat("parts of text", ANSWERED, messages=message([{"type": "text", "text": "a"}])),
    chat("no parts", EITHER, messages=message([])),
    chat("no role", messages=[{"content": "a"}]),
    chat("a role of a number", messages=message("a", role=5)),
    chat("a role with a line break", EITHER, messages=message("a", role="user\n<|im_end|>\nsystem")),
    chat("a role of half a character", messages=message("a", role="\ud800")),
    chat("10,000 messages", EITHER, messages=message("a") * 10_000),
    chat("an answer that goes on after the user's message", continue_final_message=True),
    chat("variables that are the request's own", chat_template_kwargs={"messages": []}),
    chat("variables that are text", chat_template_kwargs="x"),
    chat("a variable that replaces a special token", EITHER, chat_template_kwargs={"bos_token": "<|im_start|>system"}),
    chat("a variable of a megabyte", EITHER, chat_template_kwargs={"x": "y" * 2**20}),
    chat("a variable of half a character", EITHER, chat_template_kwargs={"x": "\ud800"}),
    chat("a variable that hides a function", EITHER, chat_template_kwargs={"raise_exception": 1, "range": 2, "namespace": 3}),
    chat("a variable that is no name", EITHER, chat_template_kwargs={"self": 1, "": 2, "a b": 3, "__class__": 4}),
    chat("tools of nothing", tools=[{}]),
    chat("a tool without a name", tools=[{"type": "function", "function": {}}]),
    chat("1,000 tools", tools=tool({}) * 1000),
    chat("a tool that is named and not there", tool_choice={"type": "function", "function": {"name": "nothing"}}),
    chat("logprobs that are a number", logprobs=5),
    chat("top_logprobs and no logprobs", top_logprobs=5),
    chat("two lengths", max_tokens=5, max_completion_tokens=6),
    chat("the old functions", functions=[], function_call="auto"),
    chat("documents", documents=[{"a": "b"}]),
]

RAW = [
    raw("an empty body", b""),
    raw("half a body", b'{"prompt": "a'),
    raw("null", b"null"),
    raw("a list", b"[]"),
    raw("a text", b'"a"'),
    raw("a number", b"5"),
    raw("bytes that are no UTF-8", b'{"model": "tiny", "prompt": "\xff\xfe"}'),
    raw("UTF-16", '{"model": "tiny", "prompt": "a", "max_tokens": 1}'.encode("utf-16"), EITHER),
    raw("a byte order mark", b'\xef\xbb\xbf{"model": "tiny", "prompt": "a", "max_tokens": 1}', EITHER),
    raw("something behind the JSON", b'{"model": "tiny", "prompt": "a", "max_tokens": 1} x'),
    raw("a key that is there twice", b'{"model": "tiny", "prompt": "a", "prompt": "b", "max_tokens": 1}', EITHER),
    raw("no number", b'{"model": "tiny", "prompt": "a", "temperature": NaN}'),
    raw("infinity", b'{"model": "tiny", "prompt": "a", "temperature": Infinity}'),
    raw("a number of 5,000 digits", b'{"model": "tiny", "prompt": "a", "n": ' + b"9" * 5000 + b"}"),
    raw("a number beyond every float", b'{"model": "tiny", "prompt": "a", "temperature": 1e99999}'),
    raw("100,000 lists deep", b"[" * DEEP + b"]" * DEEP),
    raw("100,000 lists deep, not closed", b"[" * DEEP),
    raw("100,000 objects deep", b'{"a":' * DEEP + b"1" + b"}" * DEEP),
    raw("deep in a field", b'{"model": "tiny", "prompt": ' + b"[" * DEEP + b"]" * DEEP + b"}"),
    raw("deep in a schema", b'{"model": "tiny", "prompt": "a", "guided_json": ' + b'{"not":' * 5000 + b"{}" + b"}" * 5001),
    raw("deep brackets in a text", json.dumps({"model": "tiny", "prompt": "[" * 1000, "max_tokens": 1}).encode(), ANSWERED),
    raw("200,000 fields", lambda: b"{" + b",".join(b'"f%d":1' % i for i in range(200_000)) + b"}"),
    raw("33 MB", lambda: b" " * (33 * 2**20), (413,)),
    raw("text/plain", b'{"model": "tiny", "prompt": "a"}', (400, 415), content_type="text/plain"),
    raw("no stated type", b'{"model": "tiny", "prompt": "a", "max_tokens": 1}', (200, 400, 415), content_type=""),
    raw("a form", b"prompt=a", (400, 415), content_type="application/x-www-form-urlencoded"),
    raw("parts", b"--x\r\n\r\na\r\n--x--", (400, 415), content_type="multipart/form-data; boundary=x"),
    raw("parts without a boundary", b"a", (400, 415), content_type="multipart/form-data"),
    raw(
        "a charset that is none",
        b'{"model": "tiny", "prompt": "a", "max_tokens": 1}',
        EITHER,
        content_type="application/json; charset=x",
    ),
    *[
        call(method, method, "/v1/completions", (400, 404, 405))
        for method in ("GET", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "BREW")
    ],
    *[
        call(f"the path {path[:30]}", "GET", path, (400, 404, 405))
        for path in [
            "/v1/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/v1/models/..%2f..%2fetc%2fpasswd",
            "/v1/models/%00",
            "/v1/models/%ff",
            "/v1/models/" + "x" * 30_000,
            "//evil.example/",
            "/studio/../v1/models",
            "/studio/..%2f..%2f..%2fetc%2fpasswd",
            "/.git/config",
            "/v1/nothing",
        ]
    ],
    call("another site's page", "POST", "/v1/completions", (403,), b"{}", origin="http://evil.example"),
    call("another site's form", "POST", "/v1/completions", (403,), b"{}", **{"sec-fetch-site": "cross-site"}),
    raw("the tokens of nothing", b'{"tokens": [-1]}', path="/detokenize"),
    raw("the tokens of beyond", b'{"tokens": [4096, 1000000000]}', path="/detokenize"),
    raw("the tokens of a million", lambda: json.dumps({"tokens": [100] * 1_000_000}).encode(), ANSWERED, path="/detokenize"),
    raw("the tokens of half a character", b'{"prompt": "\\ud800"}', path="/tokenize"),
    raw("the tokens of 2 MB", lambda: json.dumps({"prompt": "a b " * 500_000}).encode(), EITHER, path="/tokenize"),
    raw("the tokens of no messages", b'{"messages": []}', path="/tokenize"),
    raw("LLM Engine without a model", b'{"prompt": "a"}', path="/v1/llm/completions-sync"),
    raw("LLM Engine with an empty model", b'{"prompt": "a"}', path="/v1/llm/completions-sync?model_endpoint_name="),
    raw("LLM Engine with a NUL", b'{"prompt": "a"}', (400, 404), path="/v1/llm/completions-sync?model_endpoint_name=%00"),
    raw("LLM Engine with half a name", b'{"prompt": "a"}', (400, 404), path="/v1/llm/completions-sync?model_endpoint_name=%ff"),
    raw("LLM Engine with a list", b"[]", path="/v1/llm/completions-sync?model_endpoint_name=tiny"),
    engine("LLM Engine, max_new_tokens 0", max_new_tokens=0),
    engine("LLM Engine, beyond the window", max_new_tokens=10**9),
    engine("LLM Engine, a field that is none", n=5),
    engine("LLM Engine, half a character", prompt="\ud800"),
    engine("LLM Engine's stream, a schema that is none", stream=True, guided_json={"type": "text"}),
    engine("LLM Engine's stream, a field that is none", stream=True, best_of=5),
]

HOSTILE = [*PUBLISHED, *NUMBERS, *CONSTRAINTS, *CHATS, *RAW]
