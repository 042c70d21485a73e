"""docs/design.md tells the truth: its rooms exist, and imports only go the way it says."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kkori"


def rooms_in_order():
    """Each row of the map: the folders and files of one layer, lowest layer first."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    table = text.split("## The rooms", 1)[1].split("\n\n", 3)[2]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    return [[name.strip("/") for name in re.findall(r"`([^`]+)`", row)] for row in rows]


LAYERS = rooms_in_order()
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}


def room_of(path):
    """The room a file belongs to: its top folder, or the file itself."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0]


def imports_when_loaded(path):
    """kkori modules that a file imports at its top level (not inside functions)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kkori."):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("kkori."))


def target_room(module):
    first = module.split(".")[1]
    return first if (PACKAGE / first).is_dir() else f"{first}.py"


def test_every_room_of_the_map_exists():
    for name in LAYER_OF:
        assert (PACKAGE / name).exists(), name


def test_every_folder_and_file_is_on_the_map():
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    found |= {path.name for path in PACKAGE.glob("[!_]*.py")}
    assert found - {"version.py"} == set(LAYER_OF)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_imports_go_down(path):
    here = LAYER_OF.get(room_of(path))
    if here is None:
        return
    for module in imports_when_loaded(path):
        there = LAYER_OF.get(target_room(module))
        assert there is None or there <= here, f"{path.name} imports {module} from above"


@pytest.mark.parametrize("folder", ["run", "codegen"])
def test_every_file_is_on_the_map(folder):
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    table = text.split(f"(`kkori/{folder}/`)", 1)[1].split("\n\n", 1)[0]
    named = {name for line in table.splitlines()[2:]
             for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == {path.stem for path in (PACKAGE / folder).glob("[!_]*.py")}


def test_files_that_the_page_names_exist():
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests|docs|benchmarks)/[\w/]+\.\w+)`", text))
    assert len(named) > 8
    for name in named:
        assert (ROOT / name).exists(), name
