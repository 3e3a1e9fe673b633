"""`ramify samples`: prompts in, and all that surrounds them."""

import hashlib
import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run

from ramify.prompts import HEDGEHOG

pytestmark = pytest.mark.usefixtures("stories", "scripted")


def shown(ramify: Run, sample: int = 1) -> dict[str, object]:
    found: dict[str, object] = json.loads(ramify("samples", "show", str(sample), "--json").stdout)
    return found


def test_a_prompt_comes_as_text_from_a_file_or_from_standard_input(ramify: Run, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("ab\n", "utf-8")
    assert ramify("samples", "add", "--file", str(tmp_path / "prompt.txt")).stdout == "2\n"
    assert ramify("samples", "add", "-", "--exact", stdin="ac\n").stdout == "3\n"
    assert [shown(ramify, i)["prompt"] for i in (1, 2, 3)] == ["a", "ab", "ac\n"]


def test_a_prompt_can_be_messages(ramify: Run, tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "y"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "z"}]
    (tmp_path / "messages.json").write_text(json.dumps(messages), "utf-8")
    ramify("samples", "add", "--messages", str(tmp_path / "messages.json"))
    ramify("samples", "add", "z", "--system", "y")
    assert shown(ramify, 2)["prompt"] == messages
    assert shown(ramify, 3)["prompt"] == [{"role": "system", "content": "y"}, {"role": "user", "content": "z"}]
    assert "system: y\nuser: z\n" in ramify("samples", "show", "3").stdout


def test_the_examples_are_document_004s_to_the_letter(ramify: Run) -> None:
    ramify("samples", "add", "--example", "hedgehog")
    assert shown(ramify, 2)["prompt"] == HEDGEHOG


def test_what_surrounds_a_prompt_is_kept_and_changed(ramify: Run) -> None:
    call = ["--title", "One", "--group", "letters/legal", "--notes", "for me", "--tag", "x", "--tag", "y"]
    assert json.loads(ramify("samples", "add", "b", *call, "--json").stdout)["id"] == 2
    found = shown(ramify, 2)
    assert [found[name] for name in ("title", "group", "notes", "tags")] == ["One", "letters/legal", "for me", ["x", "y"]]
    assert ramify("samples", "edit", "2", "--title", "Two").stdout == "sample 2 is changed\n"
    assert ramify("samples", "tag", "1", "2", "--add", "z", "--remove", "x").stdout == "sample 1: z\nsample 2: y, z\n"
    assert [shown(ramify, 2)[name] for name in ("title", "group")] == ["Two", "letters/legal"]


def test_lists_are_newest_first_and_narrowed_by_group_and_filter(ramify: Run) -> None:
    ramify("samples", "add", "b", "--group", "letters/legal", "--tag", "x")
    ramify("samples", "add", "c", "--group", "tales")

    def ids(*arguments: str) -> list[int]:
        lines = ramify("samples", "list", "--json", *arguments).stdout.splitlines()
        return [json.loads(line)["id"] for line in lines]

    assert ids() == [3, 2, 1]
    assert ids("--order", "oldest", "--limit", "2") == [1, 2]
    assert ids("--group", "letters") == [2]
    assert ids("--filter", '{"field": "tag", "op": "is", "value": "x"}') == [2]
    assert ids("--filter", '{"field": "tag", "op": "is", "value": "x"}', "--group", "tales") == []
    assert ramify("samples", "list").stdout.splitlines() == [
        "sample  group          title    tags  prompt",
        "     3  tales                         c",
        "     2  letters/legal           x     b",
        "     1                 Letters        a",
    ]


def test_a_prompt_with_completions_is_revised_and_keeps_them(ramify: Run) -> None:
    ramify("completions", "write", "1", "c")
    assert ramify("samples", "revise", "1", "ab").stdout == "sample 1 has revision 2\n"
    ramify("completions", "write", "1", "c")
    found = shown(ramify)
    assert [each["prompt"] for each in found["revisions"]] == ["a", "ab"]  # type: ignore[attr-defined]
    assert found["completions"] == [1, 2]
    assert json.loads(ramify("completions", "show", "2", "--json").stdout)["revision"] == 2


def test_archive_hide_and_delete_are_three_things(ramify: Run) -> None:
    ramify("samples", "add", "b")
    assert ramify("samples", "archive", "1", "2").stdout == "samples 1, 2 in the archive\n"
    assert ramify("samples", "list").stdout == ""
    assert len(ramify("samples", "list", "--archived", "--json").stdout.splitlines()) == 2
    assert ramify("samples", "archive", "2", "--back").stdout == "sample 2 out of the archive\n"
    assert ramify("samples", "hide", "2").stdout == "sample 2 out of view\n"
    assert [json.loads(line)["id"] for line in ramify("samples", "list", "--hidden", "--json").stdout.splitlines()] == [2]
    assert ramify("samples", "delete", "2").stdout == "sample 2 deleted; `ramify undo` brings back\n"
    assert ramify("samples", "show", "2").exit_code == 2
    ramify("undo")
    assert shown(ramify, 2)["prompt"] == "b"


REFUSED = {
    "no such sample": (["show", "7"], "there is no sample 7"),
    "one of several": (["archive", "1", "7", "8"], "there are no samples 7, 8"),
    "two prompts": (["add", "a", "--file", "b"], "a prompt and --file were given; give one of them"),
    "an example and a prompt": (["add", "a", "--example", "hedgehog"], "--example is a whole prompt"),
    "no such example": (["add", "--example", "fox"], "there is no example 'fox'; there are hedgehog, payment"),
    "nothing to change": (["edit", "1"], "nothing was given to change"),
    "no tag": (["tag", "1"], "no tag was given"),
    "a tag on and off": (["tag", "1", "--add", "x", "--remove", "x"], "the tag 'x' is both put on and taken off"),
    "no such order": (["list", "--order", "best"], "order is 'best'"),
    "no page": (["list", "--limit", "0"], "limit is 0"),
    "no such filter": (["list", "--filter", "good"], "there is no filter 'good'"),
    "messages that are none": (["add", "--messages", "-"], "'-' is not JSON"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_refused_and_nothing_is_done(ramify: Run, arguments: list[str], message: str) -> None:
    before = ramify("history", "--json").stdout
    result = ramify("samples", *arguments, stdin="")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert ramify("history", "--json").stdout == before


def test_images_are_references_with_type_and_hash_and_stay_where_they_are(ramify: Run, tmp_path: Path) -> None:
    picture = tmp_path / "map.png"
    picture.write_bytes(b"\x89PNG")
    assert ramify("samples", "add", "b", "--image", str(picture), "--image", "https://example.org/a.jpg").stdout == "2\n"
    digest = hashlib.sha256(b"\x89PNG").hexdigest()
    assert shown(ramify, 2)["images"] == [
        {"path": str(picture), "media_type": "image/png", "sha256": digest},
        {"path": "https://example.org/a.jpg", "media_type": "image/jpeg", "sha256": ""},
    ]
    assert f"{picture}, https://example.org/a.jpg" in ramify("samples", "show", "2").stdout
    assert ramify("samples", "edit", "2", "--image", "https://example.org/b.png", "--title", "B").exit_code == 0
    assert [each["path"] for each in shown(ramify, 2)["images"]] == ["https://example.org/b.png"]  # type: ignore[attr-defined]
    assert ramify("undo").exit_code == 0
    assert (len(shown(ramify, 2)["images"]), shown(ramify, 2)["title"]) == (2, "")  # type: ignore[arg-type]
    assert ramify("samples", "edit", "2", "--image", "").exit_code == 0
    assert shown(ramify, 2)["images"] == []


def test_what_is_no_image_is_refused(ramify: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a", "utf-8")
    for said, why in ((str(tmp_path / "a.txt"), "is no image by its name"), ("gone.png", "there is no file 'gone.png'")):
        result = ramify("samples", "add", "b", "--image", said)
        assert (result.exit_code, why in result.stderr) == (2, True), result.stderr
    assert ramify("samples", "show", "2").exit_code == 2
