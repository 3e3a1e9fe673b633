"""The wheel carries the studio whole: page, modules, styles and fonts; what runs it needs no Node."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.web.conftest import ROOT

from ramify.web import modules


def test_every_import_of_every_module_is_a_file_beside_it(studio_modules: None) -> None:
    web = modules.VENDOR.parent
    ours = re.compile(r'^(?:import|export)\b[^;`"=]*?from "([^"]+)";', re.MULTILINE)
    copied = re.compile(r'\b(?:from|import)\s*"([^"]+)"')
    files = [(file, ours) for file in web.glob("js/**/*.js")] + [(file, copied) for file in modules.VENDOR.glob("*.js")]
    found = [(file, name) for file, pattern in files for name in pattern.findall(file.read_text("utf-8"))]
    assert len(found) > 100
    assert [(file.name, name) for file, name in found if not name.startswith(".") or not (file.parent / name).is_file()] == []


def test_what_the_page_names_is_there(studio_modules: None) -> None:
    web = modules.VENDOR.parent
    names = re.findall(r'(?:href|src)="/studio/([^"]+)"', (web / "index.html").read_text("utf-8"))
    assert len(names) > 8
    assert [name for name in names if not (web / name).is_file()] == []
    fonts = (modules.VENDOR / "fonts" / "fonts.css").read_text("utf-8")
    assert [name for name in re.findall(r"url\(([^)]+)\)", fonts) if not (modules.VENDOR / "fonts" / name).is_file()] == []


@pytest.mark.slow
def test_the_wheel_holds_the_studio(studio_modules: None, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path), "."]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    web = modules.VENDOR.parent
    wanted = [file for file in web.rglob("*") if file.suffix in (".js", ".css", ".html", ".svg", ".woff2")]
    assert len(wanted) > 60
    assert [str(file) for file in wanted if f"ramify/web/{file.relative_to(web).as_posix()}" not in held] == []


def test_a_module_that_imports_what_nobody_planned_is_refused(tmp_path: Path) -> None:
    for source, _ in modules.MODULES.values():
        file = tmp_path / "node_modules" / source
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('import x from"left-pad";')
    with pytest.raises(ValueError, match='imports "left-pad"'):
        modules.copy_modules(tmp_path / "node_modules", tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()
