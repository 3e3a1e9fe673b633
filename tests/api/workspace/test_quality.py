"""A completion measured and filtered over HTTP, against the library's own answers."""

from tests.api.workspace.speaking import Speaker

import ramify
from ramify.quality.filters import CHECKS
from ramify.quality.metrics import DEFINITIONS

TEXT = "The fox ran home. It was 2 + 2 = 5 damn miles."


def test_a_completion_has_the_librarys_numbers_and_passes_the_librarys_filter(api: Speaker) -> None:
    sample = api.post("/samples", prompt="The fox")["id"]
    made = api.post(f"/samples/{sample}/completions", text=TEXT)["id"]
    checks = {"min_length": 5, "profanity_filter": True, "factuality_check": True}
    found = api.post(f"/completions/{made}/quality", reference="The fox ran home.", checks=checks, sources=["The fox: 5 miles."])
    expected = ramify.evaluate_generation(TEXT, reference_text="The fox ran home.", prompt="The fox").to_dict()
    assert found["model"] == "tiny"
    assert list(found["metrics"]) == list(DEFINITIONS)
    for name, value in found["metrics"].items():
        assert value == expected[name] or abs(value - expected[name]) < 1e-4, name
    filtered = ramify.OutputFilter.filter(TEXT, checks, sources=["The fox: 5 miles."])
    assert found["filtered"] == {
        "text": "The fox ran home. It was 2 + 2 = 5 d*** miles.",
        "passed": False,
        "reasons": list(filtered.reasons),
        "checked": dict(filtered.checked),
    }
    assert api.post(f"/completions/{made}/quality")["filtered"] is None
    told = api.get("/quality")
    assert [each["name"] for each in told["metrics"]] == list(DEFINITIONS)
    assert {each["name"]: each["meaning"] for each in told["checks"]} == CHECKS


def test_a_check_that_is_none_and_sources_that_nobody_reads_are_refused(api: Speaker) -> None:
    sample = api.post("/samples", prompt="The fox")["id"]
    made = api.post(f"/samples/{sample}/completions", text=TEXT)["id"]
    for body, says in (
        ({"checks": {"min_lenght": 3}}, "did you mean min_length?"),
        ({"checks": {"max_repetition": 3}}, "a number from 0 to 1"),
        ({"sources": ["x"]}, "factuality_check is not asked for"),
        ({"tokenize": "klingon"}, "tokenize"),
    ):
        status, _, message = api.refusal("POST", f"/completions/{made}/quality", {"reference": "x", **body})
        assert (status, says in message) == (400, True), message
    assert api.refusal("POST", f"/completions/{made}/quality", {"model": "nobody"})[0] == 404
