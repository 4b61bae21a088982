"""Builds the client's wheel, with its stubs inside: `python -m deploy.client [DIRECTORY]`.

The package is `creator_economy`: `libs/client`, what it imports of `libs`, and the stubs, under one name of its own.
"""

import base64
import hashlib
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.local import stubs
from deploy.local.trouble import Trouble

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = "creator_economy"
NAME = "creator-economy-client"
NEEDED = ("googleapis-common-protos", "grpcio", "grpcio-status", "protobuf")
# Always the same bytes for the same sources: wheels are compared, and zip files know no time before 1980.
EPOCH = (1980, 1, 1, 0, 0, 0)
_IMPORT = re.compile(r"^(\s*)(from|import) (libs|protos)((?:\.\w+)*)( import .+)?( as \w+)?$", re.MULTILINE)


def build(directory: Path) -> Path:
    """Writes the wheel and returns its path."""
    stubs.generate(PROJECT)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = project["version"]
    info = f"{NAME.replace('-', '_')}-{version}.dist-info"
    files = {path: text.encode() for path, text in _modules()}
    files[f"{PACKAGE}/py.typed"] = b""
    files[f"{info}/METADATA"] = _metadata(version, project).encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: creator-economy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/licenses/LICENSE"] = (PROJECT / "LICENSE").read_bytes()
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD").encode()
    directory.mkdir(parents=True, exist_ok=True)
    wheel = directory / f"{NAME.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return wheel


def _modules() -> Iterator[tuple[str, str]]:
    """Each file of the package with its text: the client, and whatever it imports of ours."""
    waiting = sorted((PROJECT / "libs/client").glob("*.py"))
    seen = set(waiting)
    folders = {PACKAGE}
    while waiting:
        source = waiting.pop(0)
        text = source.read_text(encoding="utf-8")
        place = f"{_renamed('.'.join(source.relative_to(PROJECT).with_suffix('').parts)).replace('.', '/')}"
        place = place.removesuffix("/__init__")
        target = f"{place}/__init__.py" if source.name == "__init__.py" else f"{place}{source.suffix}"
        folders |= {str(parent) for parent in Path(target).parents if parent.parts}
        yield target, _IMPORT.sub(_moved, text)
        for found in _imported(text):
            if found not in seen:
                seen.add(found)
                waiting.append(found)
    for folder in sorted(folders - {PACKAGE}):
        yield f"{folder}/__init__.py", ""


def _imported(text: str) -> Iterator[Path]:
    """The files of ours that a module imports; a stub comes with its types."""
    for match in _IMPORT.finditer(text):
        module = f"{match[3]}{match[4]}"
        names = re.findall(r"\w+", (match[5] or "").removeprefix(" import "))
        for dotted in (module, *(f"{module}.{name}" for name in names)):
            for suffix in (".py", ".pyi"):
                path = PROJECT / (dotted.replace(".", "/") + suffix)
                if path.exists():
                    yield path


def _renamed(module: str) -> str:
    """A module's name within the package."""
    for prefix in ("libs.client", "libs"):
        if module == prefix or module.startswith(f"{prefix}."):
            return PACKAGE + module.removeprefix(prefix)
    return f"{PACKAGE}.{module}"


def _moved(match: re.Match[str]) -> str:
    if match[2] == "import":
        raise Trouble(f"The client's wheel cannot rename `{match[0].strip()}`: import names from the module instead.")
    return f"{match[1]}from {_renamed(match[3] + match[4])}{match[5]}{match[6] or ''}"


def _metadata(version: str, project: dict[str, str | list[str]]) -> str:
    wanted = [each for each in project["dependencies"] if re.split(r"[>=<;\[ ]", each)[0] in NEEDED]
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {NAME}",
        f"Version: {version}",
        "Summary: Typed gRPC client of the creator economy, for billing and integrators.",
        f"License-Expression: {project['license']}",
        "License-File: LICENSE",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {each}" for each in wanted),
    ]
    return "\n".join(lines) + "\n"


def _record(files: dict[str, bytes], own: str) -> str:
    return "\n".join((*_hashed(files.items()), f"{own},,")) + "\n"


def _hashed(files: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    for path, content in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        yield f"{path},sha256={digest},{len(content)}"


if __name__ == "__main__":
    try:
        print(build(Path(sys.argv[1] if len(sys.argv) > 1 else PROJECT / ".local/dist")))  # noqa: T201 - tells where it is
    except Trouble as trouble:
        sys.exit(str(trouble))
