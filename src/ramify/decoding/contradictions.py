"""Settings that cannot hold together: what was given, what is allowed, what to do.

Each rule answers None or (message, fields). Only values that would have no effect, or opposite ones, are refused;
neutral values never are.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ramify.decoding.config import GenerationConfig

__all__ = ["find_contradiction"]

Contradiction = tuple[str, tuple[str, ...]]

_GRAMMARS = ("json_schema", "regex", "choices", "grammar")


def find_contradiction(config: "GenerationConfig") -> Contradiction | None:
    """The first contradiction among the settings, or None."""
    for rules in (
        _lengths,
        _sampling,
        _guidance,
        _guesses,
        _contrastive,
        _beams,
        _groups,
        _early_stopped,
        _stopping,
        _constraints,
    ):
        for found in rules(config):
            return found
    return None


def _refused(message: str, fields: tuple[str, ...]) -> Contradiction:
    return message, fields


def _lengths(config: "GenerationConfig") -> Iterator[Contradiction]:
    least, most = config.min_new_tokens, config.max_new_tokens
    if most is not None and least > most:
        yield _refused(
            f"min_new_tokens is {least} and max_new_tokens is {most}; the least must not exceed the most. "
            "Lower min_new_tokens or raise max_new_tokens",
            ("min_new_tokens", "max_new_tokens"),
        )
    if config.max_length is not None and least >= config.max_length:
        yield _refused(
            f"min_new_tokens is {least} and max_length is {config.max_length}, which counts the prompt too; "
            "no prompt leaves so much room. Lower min_new_tokens or raise max_length",
            ("min_new_tokens", "max_length"),
        )


def _guidance(config: "GenerationConfig") -> Iterator[Contradiction]:
    searching = {
        "num_beams": config.num_beams > 1,
        "beam_rule": config.beam_rule == "early_stopped",
        "penalty_alpha": bool(config.penalty_alpha),
    }
    for name, searches in searching.items():
        if searches and config.guidance_scale != 1.0:
            yield _refused(
                f"guidance_scale is {config.guidance_scale} and {name} is {getattr(config, name)!r}; guidance acts on greedy "
                f"decoding and sampling only. Leave one of them out",
                ("guidance_scale", name),
            )


def _guesses(config: "GenerationConfig") -> Iterator[Contradiction]:
    if config.prompt_lookup_num_tokens is None:
        return
    others = {
        "num_beams": config.num_beams > 1,
        "beam_rule": config.beam_rule == "early_stopped",
        "penalty_alpha": bool(config.penalty_alpha),
        "guidance_scale": config.guidance_scale != 1.0,
        "use_cache": not config.use_cache,
    }
    for name, acts in others.items():
        if acts:
            yield _refused(
                f"prompt_lookup_num_tokens is {config.prompt_lookup_num_tokens} and {name} is {getattr(config, name)!r}; guesses "
                "are checked in greedy decoding and sampling over a cache, without guidance. Leave one of them out",
                ("prompt_lookup_num_tokens", name),
            )


def _sampling(config: "GenerationConfig") -> Iterator[Contradiction]:
    filters = ", ".join(f"{name}={getattr(config, name)}" for name in config.filters)
    if config.temperature == 0:
        if config.do_sample:
            yield _refused(
                "do_sample is True and temperature is 0, which means greedy; leave do_sample out, or give a temperature above 0",
                ("do_sample", "temperature"),
            )
        if filters:
            yield _refused(
                f"temperature is 0, which means greedy, so {filters} cannot act; "
                "give a temperature above 0, or leave the filter out",
                ("temperature", *config.filters),
            )
    if config.do_sample is False:
        if config.temperature not in (None, 0.0, 1.0):
            yield _refused(
                f"do_sample is False and temperature is {config.temperature}, which only sampling uses; "
                "leave do_sample out to sample, or leave temperature out",
                ("do_sample", "temperature"),
            )
        if filters:
            yield _refused(
                f"do_sample is False, so {filters} cannot act; leave do_sample out to sample, or leave the filter out",
                ("do_sample", *config.filters),
            )
    if config.nucleus_rule == "exclusive" and config.top_p in (None, 1.0):
        yield _refused(
            f"nucleus_rule is 'exclusive' and top_p is {config.top_p}, so there is no nucleus; give top_p below 1",
            ("nucleus_rule", "top_p"),
        )


def _contrastive(config: "GenerationConfig") -> Iterator[Contradiction]:
    if not config.penalty_alpha:
        return
    given = f"penalty_alpha is {config.penalty_alpha} (contrastive search)"
    if config.top_k is None or config.top_k < 2:
        yield _refused(f"{given} and top_k is {config.top_k}; give top_k >= 2, its candidates", ("penalty_alpha", "top_k"))
    if config.do_sample:
        yield _refused(
            f"{given} and do_sample is True; contrastive search draws nothing. Leave one of them out",
            ("penalty_alpha", "do_sample"),
        )
    if config.temperature not in (None, 0.0, 1.0):
        yield _refused(
            f"{given} and temperature is {config.temperature}, which only sampling uses. Leave one of them out",
            ("penalty_alpha", "temperature"),
        )
    if config.filters:
        names = ", ".join(config.filters)
        yield _refused(
            f"{given}, so {names} cannot act; top_k alone chooses its candidates. Leave {names} out",
            ("penalty_alpha", *config.filters),
        )
    if config.num_beams > 1 or config.beam_rule == "early_stopped":
        yield _refused(
            f"{given} with num_beams {config.num_beams} and beam_rule {config.beam_rule!r}; "
            "contrastive search has no beams. Leave penalty_alpha or the beams out",
            ("penalty_alpha", "num_beams", "beam_rule"),
        )
    if config.num_return_sequences > 1:
        yield _refused(
            f"{given} and num_return_sequences is {config.num_return_sequences}; contrastive search draws nothing, so all of "
            "them would be the same one. Ask for one, or give a temperature or beams instead of penalty_alpha",
            ("penalty_alpha", "num_return_sequences"),
        )


def _beams(config: "GenerationConfig") -> Iterator[Contradiction]:
    if config.num_beams == 1:
        if config.length_penalty != 1.0:
            yield _refused(
                f"length_penalty is {config.length_penalty} and num_beams is 1; it ranks finished beams. "
                "Give num_beams above 1, or leave length_penalty out",
                ("length_penalty", "num_beams"),
            )
        if config.early_stopping == "never":
            yield _refused(
                "early_stopping is 'never' and num_beams is 1; it rules when beam search may stop. "
                "Give num_beams above 1, or leave early_stopping out",
                ("early_stopping", "num_beams"),
            )
    elif config.num_return_sequences > config.num_beams:
        yield _refused(
            f"num_return_sequences is {config.num_return_sequences} and num_beams is {config.num_beams}; "
            "beam search returns at most num_beams. Lower the first or raise the second",
            ("num_return_sequences", "num_beams"),
        )
    if config.required_words is not None and config.num_beams > 1 and config.samples:
        yield _refused(
            "required_words with num_beams above 1 is a search that draws nothing, and do_sample, temperature or a "
            "filter asks for sampling; leave the sampling settings out, or give num_beams=1",
            ("required_words", "num_beams", "do_sample", "temperature"),
        )


def _groups(config: "GenerationConfig") -> Iterator[Contradiction]:
    groups, penalty = config.num_beam_groups, config.diversity_penalty
    if groups == 1:
        if penalty > 0:
            yield _refused(
                f"diversity_penalty is {penalty} and num_beam_groups is 1; it acts between groups. "
                "Give num_beam_groups above 1, or leave diversity_penalty out",
                ("diversity_penalty", "num_beam_groups"),
            )
        return
    if config.num_beams % groups:
        yield _refused(
            f"num_beam_groups is {groups} and num_beams is {config.num_beams}; "
            "the groups are of equal size. Choose num_beams as a multiple of num_beam_groups",
            ("num_beam_groups", "num_beams"),
        )
    if penalty == 0:
        yield _refused(
            f"num_beam_groups is {groups} and diversity_penalty is 0, so all groups would be the same; "
            "give a diversity_penalty above 0",
            ("num_beam_groups", "diversity_penalty"),
        )
    if config.samples:
        yield _refused(
            f"num_beam_groups is {groups} and do_sample, temperature or a filter asks for sampling; "
            "diverse beams draw nothing. Leave the sampling settings out, or the groups",
            ("num_beam_groups", "do_sample", "temperature"),
        )
    if config.required_words is not None:
        yield _refused(
            f"num_beam_groups is {groups} and required_words is {list(config.required_words)}; "
            "beams with required words have one group. Leave one of them out",
            ("num_beam_groups", "required_words"),
        )


def _early_stopped(config: "GenerationConfig") -> Iterator[Contradiction]:
    if config.beam_rule == "standard":
        if config.beam_length != "generated":
            yield _refused(
                f"beam_length is {config.beam_length!r} and beam_rule is 'standard', whose length is always the "
                "generated tokens; give beam_rule='early_stopped', or leave beam_length out",
                ("beam_length", "beam_rule"),
            )
        return
    given = "beam_rule is 'early_stopped'"
    if config.early_stopping == "never":
        yield _refused(
            f"{given} and early_stopping is 'never'; leave one of them out",
            ("beam_rule", "early_stopping"),
        )
    if config.samples:
        yield _refused(
            f"{given} and do_sample, temperature or a filter asks for sampling; that search draws nothing. "
            "Leave the sampling settings out, or give beam_rule='standard'",
            ("beam_rule", "do_sample", "temperature"),
        )
    if config.num_beam_groups > 1:
        yield _refused(
            f"{given} and num_beam_groups is {config.num_beam_groups}; groups need beam_rule='standard'",
            ("beam_rule", "num_beam_groups"),
        )
    if config.required_words is not None and config.num_beams > 1:
        yield _refused(
            f"{given} and required_words is {list(config.required_words)}; beams with required words need beam_rule='standard'",
            ("beam_rule", "required_words"),
        )
    if config.num_return_sequences > config.num_beams:
        yield _refused(
            f"num_return_sequences is {config.num_return_sequences} and num_beams is {config.num_beams}; "
            "beam search returns at most num_beams. Lower the first or raise the second",
            ("num_return_sequences", "num_beams"),
        )
    if config.beam_length != "generated" and config.num_beams == 1:
        yield _refused(
            f"beam_length is {config.beam_length!r} and num_beams is 1, where length ranks nothing; "
            "give num_beams above 1, or leave beam_length out",
            ("beam_length", "num_beams"),
        )


def _stopping(config: "GenerationConfig") -> Iterator[Contradiction]:
    if config.include_stop_str_in_output and config.stop_strings is None:
        yield _refused(
            "include_stop_str_in_output is True and there are no stop_strings; give some, or leave it out",
            ("include_stop_str_in_output", "stop_strings"),
        )
    if config.ignore_eos and config.eos_token_id is not None:
        yield _refused(
            f"ignore_eos is True and eos_token_id is {list(config.eos_token_id)}; leave one of them out",
            ("ignore_eos", "eos_token_id"),
        )
    if config.ignore_eos and config.exponential_decay_length_penalty is not None:
        yield _refused(
            "ignore_eos is True and exponential_decay_length_penalty favours EOS; leave one of them out",
            ("ignore_eos", "exponential_decay_length_penalty"),
        )
    if config.ignore_eos and config.min_new_tokens > 0:
        yield _refused(
            f"ignore_eos is True and min_new_tokens is {config.min_new_tokens}, which only delays EOS; leave one of them out",
            ("ignore_eos", "min_new_tokens"),
        )
    if config.eos_token_id is not None:
        for sequence in config.bad_words_ids or ():
            if len(sequence) == 1 and sequence[0] in config.eos_token_id:
                yield _refused(
                    f"bad_words_ids holds {list(sequence)}, which is an eos_token_id; use ignore_eos or suppress_tokens for that",
                    ("bad_words_ids", "eos_token_id"),
                )


def _constraints(config: "GenerationConfig") -> Iterator[Contradiction]:
    given = [name for name in _GRAMMARS if getattr(config, name) is not None]
    if len(given) > 1:
        yield _refused(f"{' and '.join(given)} are given; at most one of {', '.join(_GRAMMARS)} is allowed", tuple(given))
    bound = given + (["required_words"] if config.required_words is not None else [])
    if bound and config.forced_eos_token_id is not None:
        yield _refused(
            f"forced_eos_token_id would end the completion before {bound[0]} is fulfilled; leave one of them out",
            (bound[0], "forced_eos_token_id"),
        )
    if given and config.ignore_eos:
        yield _refused(
            f"{given[0]} ends with EOS and ignore_eos is True; leave one of them out",
            (given[0], "ignore_eos"),
        )
    if config.required_words is not None and config.stop_strings is not None:
        yield _refused(
            f"stop_strings is {list(config.stop_strings)} and could end the completion before required_words "
            f"{list(config.required_words)} have appeared; leave one of them out",
            ("required_words", "stop_strings"),
        )
    if config.required_words is not None and config.stop_token_ids is not None:
        yield _refused(
            f"stop_token_ids is {list(config.stop_token_ids)} and could end the completion before required_words "
            f"{list(config.required_words)} have appeared; leave one of them out",
            ("required_words", "stop_token_ids"),
        )
