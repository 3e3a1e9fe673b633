"""The ES modules and fonts that the studio imports: copied from npm's packages into `web/vendor/`, bare names made relative.

No bundler: what is copied is what runs. The copy is made when the package is built or installed for development
(`hatch_build.py`); a wheel carries it, so running needs neither Node nor a network. Only the standard library is used here,
because the build loads this file alone.
"""

import re
import shutil
import subprocess
from pathlib import Path
from posixpath import relpath

__all__ = ["MODULES", "VENDOR", "copy_modules", "install", "missing"]

VENDOR = Path(__file__).parent / "vendor"

MODULES = {
    # name in an import: (file in node_modules, file in vendor)
    "preact": ("preact/dist/preact.mjs", "preact.js"),
    "preact/hooks": ("preact/hooks/dist/hooks.mjs", "preact-hooks.js"),
    "@preact/signals-core": ("@preact/signals-core/dist/signals-core.mjs", "signals-core.js"),
    "@preact/signals": ("@preact/signals/dist/signals.mjs", "signals.js"),
    "htm": ("htm/dist/htm.mjs", "htm.js"),
    "htm/preact": ("htm/preact/index.mjs", "htm-preact.js"),
}
FONTS = {
    # package: styles of it that are used
    "inter": ("wght.css",),
    "source-serif-4": ("wght.css", "wght-italic.css"),
    "jetbrains-mono": ("wght.css",),
}
LICENCES = ("preact", "@preact/signals", "@preact/signals-core", "htm")

BARE = re.compile(r'(from\s*|import\s*)"([^".][^"]*)"')
SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)
FONT_FILE = re.compile(r"url\(\./files/([\w.-]+)\)")


def missing() -> list[str]:
    """Files of the copy that are not there."""
    wanted = [target for _, target in MODULES.values()] + ["fonts/fonts.css"]
    return [name for name in wanted if not (VENDOR / name).exists()]


def copy_modules(node_modules: Path, vendor: Path = VENDOR) -> None:
    """Make the copy anew. Raises FileNotFoundError where a package is not installed, ValueError for an import nobody planned."""
    fresh = vendor.with_name(vendor.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "fonts").mkdir(parents=True)
    for source, target in MODULES.values():
        text = SOURCE_MAP.sub("", (node_modules / source).read_text("utf-8"))
        (fresh / target).write_text(BARE.sub(lambda found, to=target: _relative(found, to), text), "utf-8")  # type: ignore[misc]
    styles = []
    for family, sheets in FONTS.items():
        folder = node_modules / "@fontsource-variable" / family
        for sheet in sheets:
            text = (folder / sheet).read_text("utf-8")
            for name in FONT_FILE.findall(text):
                shutil.copyfile(folder / "files" / name, fresh / "fonts" / name)
            styles.append(FONT_FILE.sub(r"url(\1)", text))
        shutil.copyfile(folder / "LICENSE", fresh / "fonts" / f"LICENSE.{family}")
    (fresh / "fonts" / "fonts.css").write_text("\n".join(styles), "utf-8")
    for package in LICENCES:
        shutil.copyfile(node_modules / package / "LICENSE", fresh / f"LICENSE.{package.replace('/', '-').lstrip('@')}")
    shutil.rmtree(vendor, ignore_errors=True)
    fresh.rename(vendor)


def install(root: Path) -> None:
    """Fetch the packages that `package-lock.json` under `root` names, with npm, and make the copy.

    Raises RuntimeError that says what to do where npm is not there or fails.
    """
    if shutil.which("npm") is None:
        raise RuntimeError("the studio's modules come from npm, which is not installed; install Node 20 or newer and try again")
    ran = subprocess.run(["npm", "ci", "--omit=dev", "--ignore-scripts"], cwd=root, capture_output=True, text=True)
    if ran.returncode != 0:
        raise RuntimeError(f"npm ci failed in {root}: {ran.stderr.strip()[-800:]}")
    copy_modules(root / "node_modules")


def _relative(found: re.Match[str], target: str) -> str:
    name = found.group(2)
    if name not in MODULES:
        raise ValueError(f'a module imports "{name}", which is not among {", ".join(MODULES)}')
    place = relpath(MODULES[name][1], str(Path(target).parent))
    return f'{found.group(1)}"./{place}"'
