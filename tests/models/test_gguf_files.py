"""Which GGUF file a name means, and what is said of files that are none, cut short or missing: without llama.cpp."""

import struct
import sys
from pathlib import Path

import pytest

import ramify
from ramify.errors import InputError, ModelNotFoundError, UnsupportedError
from ramify.models.gguf_files import is_gguf, read
from ramify.models.registry import Registry, fingerprint


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def written(*, architecture: str = "llama", version: int = 3, values: int = 40) -> bytes:
    """A GGUF file with one float32 tensor, a short list and a long one."""
    pairs = [
        string("general.architecture") + struct.pack("<I", 8) + string(architecture),
        string("llama.context_length") + struct.pack("<II", 4, 128),
        string("some.names") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("é"),
        string("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 100) + b"".join(string(f"t{i}") for i in range(100)),
        string("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, 100) + struct.pack("<100f", *range(100)),
        string("last") + struct.pack("<I?", 7, True),
    ]
    tensor = string("output.weight") + struct.pack("<IQQIQ", 2, values // 4, 4, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", version, 1, len(pairs)) + b"".join(pairs) + tensor
    return head + bytes(-len(head) % 32) + bytes(4 * values)


def test_a_head_is_read_and_vocabularies_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(written())
    found = read(f"gguf:{tmp_path}/a")
    assert (found.path, found.parts, found.architecture) == (file, (file,), "llama")
    assert found.metadata == {
        "general.architecture": "llama",
        "llama.context_length": 128,
        "some.names": ["a", "é"],
        "tokenizer.ggml.tokens": None,
        "tokenizer.ggml.scores": None,
        "last": True,
    }
    assert found.tensors == {"output.weight": 0}
    assert (found.precision, found.float32_only) == ("float32", True)


def test_a_file_cut_anywhere_is_called_cut(tmp_path: Path) -> None:
    whole, file = written(), tmp_path / "cut.gguf"
    for size in (*range(4, len(whole), 61), len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(InputError, match="is cut short"):
            read(str(file))
    file.write_bytes(whole)
    assert read(str(file)).architecture == "llama"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04zip", b"<!DOCTYPE html>", b"GGU"])
def test_what_is_no_gguf_file_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "page.gguf"
    file.write_bytes(content)
    with pytest.raises(InputError, match="is no GGUF file: it begins with"):
        ramify.load(str(file))


def test_a_vocabulary_alone_has_no_data_to_miss(tmp_path: Path) -> None:
    pair = string("general.architecture") + struct.pack("<I", 8) + string("llama")
    (tmp_path / "vocab.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair)
    assert read(str(tmp_path / "vocab.gguf")).tensors == {}


def test_an_old_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "old.gguf").write_bytes(written(version=1))
    with pytest.raises(InputError, match="is GGUF version 1"):
        read(str(tmp_path / "old.gguf"))


def test_a_folder_with_several_names_them_and_one_with_parts_is_one_model(tmp_path: Path) -> None:
    for name in ("b-00001-of-00002.gguf", "b-00002-of-00002.gguf"):
        (tmp_path / name).write_bytes(written())
    assert [part.name for part in read(str(tmp_path)).parts] == ["b-00001-of-00002.gguf", "b-00002-of-00002.gguf"]
    (tmp_path / "c.gguf").write_bytes(written())
    with pytest.raises(ModelNotFoundError, match=r"holds 2 GGUF models; name one of them: gguf:.*/b-00001-of-00002, gguf:.*/c"):
        read(str(tmp_path))
    (tmp_path / "b-00002-of-00002.gguf").unlink()
    with pytest.raises(ModelNotFoundError, match=r"b-00002-of-00002\.gguf is not beside it"):
        read(f"{tmp_path}/b-00001-of-00002.gguf")


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "there.gguf").write_bytes(written())
    with pytest.raises(ModelNotFoundError, match=r"there is no file '.*not.gguf'; '.*' holds there.gguf"):
        ramify.load(f"{tmp_path}/not.gguf")
    with pytest.raises(ModelNotFoundError, match="names no file"):
        read("gguf:")


def test_a_folder_in_hugging_face_format_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(written())
    assert is_gguf(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert not is_gguf(str(tmp_path))
    assert [is_gguf(name) for name in ("tiny", "hf:a/b", "openai:gpt", "", "gguf:x", "x.gguf")] == [False] * 4 + [True] * 2


def test_a_name_for_a_file_takes_no_adapter_and_stands_for_the_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.gguf").write_bytes(written())
    registry = Registry()
    with pytest.raises(InputError, match="takes no adapter"):
        registry.add("small", "a.gguf", adapter=tmp_path)
    assert registry.add("small", "gguf:a").target == f"gguf:{tmp_path}/a.gguf"
    assert fingerprint(registry.gguf("small")) == fingerprint(registry.gguf("a.gguf"))  # type: ignore[arg-type]
    assert registry.gguf("tiny") is None
    with pytest.raises(ModelNotFoundError, match="there is no file"):
        registry.add("other", "gguf:b")


def test_without_llama_cpp_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.gguf").write_bytes(written())
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'ramify\[gguf\]'"):
        ramify.load(f"{tmp_path}/a.gguf")
