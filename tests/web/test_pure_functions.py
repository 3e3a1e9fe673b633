"""What is pure in the studio is tested by node, next to it; the types of all modules are checked by tsc."""

import shutil
import subprocess

import pytest
from tests.web.conftest import ROOT

NODE = shutil.which("node")
TSC = ROOT / "node_modules" / ".bin" / "tsc"


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_diffs_heatmaps_rankings_layouts_filters_and_event_streams() -> None:
    files = sorted(str(file) for file in (ROOT / "tests" / "web" / "js").glob("*.test.js"))
    assert files
    ran = subprocess.run([str(NODE), "--test", *files], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout[-4000:]


@pytest.mark.skipif(not TSC.exists(), reason="typescript is not installed; `npm ci` installs it")
def test_the_modules_types_hold() -> None:
    ran = subprocess.run([str(TSC), "--noEmit"], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout[-4000:]
