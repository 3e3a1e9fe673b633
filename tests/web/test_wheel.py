"""The wheel carries the studio whole: page, modules, styles and fonts; what runs it needs no Node."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ramify.web import modules
from tests.web.conftest import ROOT


def test_every_import_of_every_module_is_a_file_beside_it(studio_modules: None) -> None:
    web = modules.VENDOR.parent
    for file in [*web.glob("js/**/*.js"), *modules.VENDOR.glob("*.js")]:
        for name in re.findall(r'(?:from|import)\s*"([^"]+)"', re.sub(r"/\*.*?\*/", "", file.read_text("utf-8"), flags=re.S)):
            assert name.startswith("."), (file.name, name)
            assert (file.parent / name).is_file(), (file.name, name)


def test_what_the_page_names_is_there(studio_modules: None) -> None:
    web = modules.VENDOR.parent
    names = re.findall(r'(?:href|src)="/studio/([^"]+)"', (web / "index.html").read_text("utf-8"))
    assert len(names) > 8
    assert [name for name in names if not (web / name).is_file()] == []
    fonts = (modules.VENDOR / "fonts" / "fonts.css").read_text("utf-8")
    assert [name for name in re.findall(r"url\(([^)]+)\)", fonts) if not (modules.VENDOR / "fonts" / name).is_file()] == []


def test_the_wheel_holds_the_studio(studio_modules: None, tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
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
