"""Write down what transformers 4.49 answers where 5 no longer can: diverse beams, contrastive search, forced words.

It runs in an environment of its own, because 4.49 needs older neighbours, and imports nothing of ramify: the models'
folders are data.

    python -m venv .cache/venv449
    .cache/venv449/bin/pip install torch==2.13.0 transformers==4.49.0 huggingface_hub==0.36.2 tokenizers==0.21.4 \\
        numpy safetensors
    .cache/venv449/bin/python tests/oracles/make_transformers_449.py "$(python tests/models_made_here.py)"

The answer, `transformers_449.json` beside this file, has for each model some logits (so that a reader can see that both
sides have read the same model) and a list of cases: the fields given, the prompt's ids, the ids of every returned
sequence (EOS included, padding not), and `sequences_scores` where the strategy has them. Ids beyond the tokenizer are
held at -1e9 before anything is decided.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

MODELS = ("llama", "qwen2", "gpt2", "mistral")
PROMPTS = (
    "Once upon a time there was",
    "One day Sonic",
    "“Hello,” said the cat, “where are you going?” “To",
    "The end",
)
# The last two are so long that 4.49 loses track of some: a token that breaks a word off is never taken for its first one.
WORDS = (
    ["sea"],
    ["Hello"],
    [" cat", " the"],
    ["sea", " Mike"],
    ["你好"],
    ["!", '{"', "walked"],
    [" hedgehog named"],
    [" burrow", " hungry cat", "!"],
)
NEW = 16


def requests() -> list[dict[str, Any]]:
    """Every request of one model; `prompt` counts in PROMPTS, `words` are strings, all else is as generate() has it."""
    asked: list[dict[str, Any]] = []
    for (beams, groups), penalty in itertools.product(((4, 2), (6, 3)), (0.5, 1.5)):
        for prompt, returned in ((0, 1), (1, beams), (2, groups)):
            asked.append(
                {
                    "prompt": prompt,
                    "num_beams": beams,
                    "num_beam_groups": groups,
                    "diversity_penalty": penalty,
                    "num_return_sequences": returned,
                }
            )
    asked.append(asked[1] | {"early_stopping": True, "length_penalty": 2.0})
    asked.append(asked[4] | {"length_penalty": 0.5, "num_beams": 4, "num_beam_groups": 4})
    asked.append(asked[1] | {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2})
    for (alpha, k), prompt in itertools.product(((0.6, 4), (0.3, 6)), range(4)):
        asked.append({"prompt": prompt, "penalty_alpha": alpha, "top_k": k})
    asked.append({"prompt": 1, "penalty_alpha": 0.6, "top_k": 4, "repetition_penalty": 1.3})
    for i, (words, beams) in enumerate(itertools.product(WORDS, (4, 6))):
        asked.append({"prompt": i % 4, "words": words, "num_beams": beams, "max_new_tokens": NEW + 8 * (words is WORDS[-1])})
    asked.append({"prompt": 1, "words": WORDS[2], "num_beams": 4, "early_stopping": True, "length_penalty": 0.5})
    asked.append({"prompt": 3, "words": WORDS[2], "num_beams": 6, "early_stopping": "never", "length_penalty": 2.0})
    for i, beams in enumerate((2, 4, 8)):
        asked.append({"prompt": 1 + i, "words": WORDS[i], "num_beams": beams, "num_return_sequences": 2, "max_new_tokens": 32})
        asked.append({"prompt": 3 - i, "words": WORDS[i], "num_beams": beams, "length_penalty": 1.5, "max_new_tokens": 24})
    for i, (stop, penalty) in enumerate(itertools.product((True, False, "never"), (0.5, 2.0))):
        plain = {"prompt": i % 4, "num_beams": 3 + i % 2, "early_stopping": stop, "length_penalty": penalty}
        asked.append(plain | {"num_return_sequences": 1 + i % 3})
    return asked


def answer(model: Any, tokenizer: Tokenizer, asked: dict[str, Any]) -> dict[str, Any]:
    """One case of the expectations file."""
    fields = {"max_new_tokens": NEW} | {key: value for key, value in asked.items() if key not in ("prompt", "words")}
    texts = [text for text in PROMPTS if not contains(tokenizer, text, asked.get("words", []))]
    ids = tokenizer.encode(texts[asked["prompt"] % len(texts)], add_special_tokens=False).ids
    case: dict[str, Any] = {"prompt_ids": ids, "fields": dict(fields)}
    if "words" in asked:
        case["words"] = asked["words"]
        case["force_words_ids"] = [tokenizer.encode(word, add_special_tokens=False).ids for word in asked["words"]]
        fields["force_words_ids"] = case["force_words_ids"]
    prompt = torch.tensor([ids])
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        **fields,
    )
    configured: Any = model.generation_config.eos_token_id
    endings = set(configured if isinstance(configured, list) else [configured])
    case["sequences"] = [until_ending(row[len(ids) :], endings) for row in out.sequences.tolist()]
    scores = getattr(out, "sequences_scores", None)
    case["scores"] = None if scores is None else [round(score, 6) for score in scores.tolist()]
    return case


def contains(tokenizer: Tokenizer, text: str, words: list[str]) -> bool:
    """Whether a word's ids stand in the text's: 4.49 takes a word of the prompt for one that was generated."""
    ids, *parts = ([0, *tokenizer.encode(each, add_special_tokens=False).ids] for each in (text, *words))
    return any(part[1:] == ids[i : i + len(part) - 1] for part in parts for i in range(len(ids)))


def until_ending(ids: list[int], endings: set[int]) -> list[int]:
    """The ids up to and with the first ending: what stands after it is padding."""
    return next((ids[: i + 1] for i, token in enumerate(ids) if token in endings), ids)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write transformers_449.json from the folders of models.")
    parser.add_argument("folders", type=Path, help="the folder that holds one folder for each model")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("transformers_449.json"))
    given = parser.parse_args()
    if not transformers.__version__.startswith("4.49."):
        parser.error(f"this is transformers {transformers.__version__}; the expectations are those of 4.49")
    torch.set_num_threads(1)
    models = {}
    for name in MODELS:
        place = given.folders / name
        # Only eager attention knows Mistral's sliding window in 4.49.
        model = AutoModelForCausalLM.from_pretrained(place, torch_dtype=torch.float32, attn_implementation="eager").eval()
        tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
        size = tokenizer.get_vocab_size()
        probe = tokenizer.encode(PROMPTS[2], add_special_tokens=False).ids
        with torch.no_grad():
            logits = model(torch.tensor([probe])).logits[0, -1, ::16]
        model.get_output_embeddings().register_forward_hook(
            lambda _module, _given, out, size=size: out.index_fill(-1, torch.arange(size, out.shape[-1]), -1e9)
        )
        models[name] = {
            "probe_ids": probe,
            "every_16th_logit": [round(value, 5) for value in logits.tolist()],
            "cases": [answer(model, tokenizer, asked) for asked in requests()],
        }
    blocks = []
    for name, said in models.items():
        cases = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in said.pop("cases"))
        blocks.append(f'{json.dumps(name)}:{json.dumps(said, separators=(",", ":"))[:-1]},\n"cases":[\n{cases}]}}')
    given.output.write_text("{" + ",\n".join(blocks) + "}\n", encoding="utf-8")
    print(f"{given.output.name}: {sum(block.count('prompt_ids') for block in blocks)} cases")


if __name__ == "__main__":
    main()
