"""The repository as a whole: nothing of one machine in it, nothing announced that is not there."""

import ast
import subprocess
import tempfile
from importlib import import_module
from pathlib import Path

import pytest

import ramify
from ramify.decoding.presets import PRESETS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "ramify"
TEXTS = {".py", ".md", ".toml", ".txt", ".json", ".yml", ".cfg", ""}


def files() -> list[Path]:
    """What git knows, or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = [ROOT / line for line in listed.stdout.splitlines()]
    return [file for file in found if file.is_file() and file.suffix in TEXTS]


def announced(file: Path) -> list[str] | None:
    for node in ast.parse(file.read_text("utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == "__all__":
            value: list[str] = ast.literal_eval(node.value)  # type: ignore[union-attr, arg-type]
            return value
    return None


MODULES = sorted(file for file in SOURCE.rglob("*.py") if file.stem != "__main__" and announced(file) is not None)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_a_module_has_every_name_that_it_announces(file: Path) -> None:
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    module = import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    names = announced(file) or []
    assert [name for name in names if not hasattr(module, name)] == []
    assert len(set(names)) == len(names)


def test_the_packages_public_names_exist_and_are_listed() -> None:
    assert set(ramify.__all__) <= set(dir(ramify))
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_the_kind'"):
        ramify.nothing_of_the_kind  # noqa: B018


def test_no_file_holds_a_path_of_the_machine_it_was_written_on() -> None:
    # A checkout in the folder for temporary files says nothing of a machine by that folder's name.
    parent = [] if ROOT.parent == Path(tempfile.gettempdir()) else [str(ROOT.parent) + "/"]
    private = [str(ROOT), *parent, *([str(Path.home()) + "/"] if len(str(Path.home())) > 5 else [])]
    found = [
        f"{file.relative_to(ROOT)}: {place}"
        for file in files()
        for place in private
        if len(place) > 2 and place in file.read_text("utf-8", errors="replace")
    ]
    assert found == []


def test_docs_decoding_md_names_every_setting_and_preset() -> None:
    page = (ROOT / "docs" / "decoding.md").read_text("utf-8")
    names = [row["name"] for row in ramify.GenerationConfig.describe()] + list(PRESETS)
    assert [name for name in names if f"`{name}" not in page] == []


def test_every_link_of_the_documents_leads_somewhere() -> None:
    import re

    missing = []
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", file.read_text("utf-8")):
            if not (file.parent / target).exists():
                missing.append(f"{file.name}: {target}")
    assert missing == []
