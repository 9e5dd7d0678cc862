"""The shape of the house: imports run downward, each heavy library lives in one place, the public surface is small."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch

from compressor.graph.layers.table import KINDS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "compressor"

ALIASES = {"export.parity"}
"""Where programs outside look for what stands elsewhere by now; nothing in the house imports them."""

LAYERS = [
    {
        "errors",
        "knobs",
        "files",
        "stored",
        "imported",
        "options",
        "present",
        "processes",
        "foreign",
        "apart",
        "runtime",
        "train.spec",
    },
    {"graph"},
    {"task"},
    {"evidence", "plugin", "pilot"},
    {"registry", "models", "data"},
    {"load", "train"},
    {"export"},
    {"measure", *ALIASES},  # measure.layers times what export writes
    {"engine"},
    {"testing", "recipe", "scaffold"},
    {"search"},
    {"report", "track"},
    {"api"},
    {"cli", "__main__"},
]

CONFINED = {
    "optuna": {"search"},
    "ray": {"search"},
    "typer": {"cli"},
    "rich": {"cli"},
    "onnxruntime": {"runtime", "measure"},
    "torch_pruning": {"graph"},
}


def sources() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"), path


def imports(path: Path) -> Iterator[str]:
    """Full names imported anywhere in a file, also inside functions; those for type checkers alone are left out."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def level(module: str) -> int:
    for number, names in enumerate(LAYERS):
        if module in names:
            return number
    for number, names in enumerate(LAYERS):
        if module.split(".")[0] in names:
            return number
    raise AssertionError(f"compressor.{module} has no layer: add it to LAYERS")


@pytest.mark.parametrize(("module", "path"), list(sources()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_run_downward(module: str, path: Path) -> None:
    if module in {"", "__init__"}:
        return
    for name in imports(path):
        if name.startswith("compressor.") and not name.startswith("compressor.__"):
            target = name.removeprefix("compressor.")
            assert level(target) <= level(module), f"{module} imports {target}, which lies above it"


MODULES = {module: path for module, path in sources() if module not in ALIASES}
FOLDERS = {"", *(module for module, path in MODULES.items() if path.name == "__init__.py" and module != "__init__")}


def part_of(folder: str, module: str) -> str:
    """The file or folder right below ``folder`` that a module belongs to; empty where it stands elsewhere."""
    whole = f"{module}.__init__" if module in FOLDERS else module
    return (
        whole.removeprefix(folder).lstrip(".").split(".")[0]
        if f"{whole}.".startswith(f"{folder}.") or not folder
        else ""
    )


@pytest.mark.parametrize("folder", sorted(FOLDERS), ids=lambda folder: folder or "compressor")
def test_the_parts_of_a_folder_form_no_cycle(folder: str) -> None:
    """Its files and folders, each folder as one: what imports ``measure`` anywhere is imported by nothing in it."""
    edges: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        if part := part_of(folder, module):
            targets = {name.removeprefix("compressor.") for name in imports(path)} & MODULES.keys()
            edges.setdefault(part, set()).update({part_of(folder, target) for target in targets} - {part, ""})
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        raise AssertionError(f"cycle in {folder or 'compressor'}: {' → '.join(error.args[1])}") from None


def test_nothing_imports_an_alias() -> None:
    assert not [module for module, path in sources() for name in imports(path) if name[len("compressor.") :] in ALIASES]


def test_the_core_knows_no_first_party_plugin() -> None:
    offenders = [module for module, path in sources() if any(n.startswith("compressor_plugins") for n in imports(path))]
    assert not offenders


DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
OFFERED = {name for group, names in DECLARED.items() if group.startswith("compressor.") for name in names}
DOCUMENTS = r"\bS[0-4]\b|document S|Gabbasov|Kondaurova|Semenov|Dziadek|MakiFlow|lottery"
"""The keys of the documents that plugins stem from, and who wrote them."""


def test_the_core_calls_no_first_party_plugin_by_its_name() -> None:
    """A name that torch has as well, such as ``conv3d``, may mean that; networks are called after what is in them."""
    names = {name for name in OFFERED if not hasattr(torch.nn.functional, name)}
    offenders = [
        f"{module}: {node.value!r}"
        for module, path in sources()
        if not module.startswith("models.")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert not offenders


def test_the_core_knows_neither_first_party_plugins_nor_the_documents_they_stem_from() -> None:
    """Nowhere in its text, comments and templates included. Names that are English words may stand for these, so only
    those with a hyphen are looked for. The networks in ``models`` say where they come from.
    """
    named = "|".join(sorted({*(name for name in OFFERED if "-" in name), "redundan"}))
    files = [path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".j2", ".js", ".css", ".txt"}]
    assert len(files) > 300
    offenders = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        if path.relative_to(PACKAGE).parts[0] != "models"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(rf"{named}|{DOCUMENTS}", line)
    ]
    assert not offenders


def test_a_plugin_reads_its_own_folder_and_what_all_share() -> None:
    folders = ROOT / "plugins" / "compressor_plugins"
    offenders = [
        f"{path.relative_to(folders)} imports {name}"
        for path in folders.rglob("*.py")
        for name in imports(path)
        if name.startswith("compressor_plugins.")
        and name.split(".")[1] not in {path.relative_to(folders).parts[0], "common"}
    ]
    assert not offenders


SEVERAL = {"bench": "the function of the Python interface, and the command"}
"""Names that stand for more than one thing, on purpose."""


def definitions(tree: ast.Module) -> Iterator[str]:
    """What a module defines under a public name, but for type variables."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            of_types = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "TypeVar"
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name) and not of_types)


def test_a_name_has_one_meaning() -> None:
    """Of classes and types, wherever they stand, and of whatever else is used outside its module."""
    parsed = {f"compressor.{module}": ast.parse(path.read_text()) for module, path in sources()}
    used = {
        (node.module, alias.name)
        for path in (*PACKAGE.rglob("*.py"), *(ROOT / "plugins").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes: dict[str, set[str]] = {}
    for module, tree in parsed.items():
        for name in definitions(tree):
            is_type = name[0].isupper() and not name.isupper()
            if not name.startswith("_") and (is_type or (module, name) in used):
                homes.setdefault(name, set()).add(module)
    several = {name: found for name, found in homes.items() if len(found) > 1}
    assert {name: sorted(found) for name, found in several.items() if name not in SEVERAL} == {}
    assert several.keys() == SEVERAL.keys()


@pytest.mark.parametrize(("library", "homes"), CONFINED.items())
def test_each_heavy_library_lives_in_one_place(library: str, homes: set[str]) -> None:
    users = {module for module, path in sources() if any(name.split(".")[0] == library for name in imports(path))}
    assert {module.split(".")[0] for module in users} <= homes


@pytest.mark.parametrize("group", [group for group in DECLARED if group.startswith("compressor.")])
def test_installed_entry_points_are_those_of_pyproject(group: str) -> None:
    installed = {point.name: point.value for point in entry_points(group=group)}
    assert {name: installed.get(name) for name in DECLARED[group]} == DECLARED[group]


LAYER_CLASSES = {of.__name__ for kind in KINDS for of in kind.classes} | {
    "_BatchNorm", "_ConvNd", "_ConvTransposeNd", "_DropoutNd", "_InstanceNorm"
}  # fmt: skip
"""torch's classes, and the bases of several, that ``graph.layers`` alone describes."""
NAMING_LAYERS = {
    "export.fold": "puts the identity where a normalisation was",
    "export.rules.as_layer": "functions that are layers by another name",
    "export.rules.parametric": "functions that are layers by another name",
    "graph.capture": "a momentum that a trace does not tell",
    "graph.frozen": "classes derived from torch's",
    "graph.norm_statistics": "statistics that no other layer has",
    "graph.onnx_in.quantized": "a clip behind a convolution of whole numbers",
    "graph.onnx_node.node": "each sample as one row",
    "graph.raising.raise_program": "each sample as one row",
    "graph.repair": "makes new layers",
}
"""The only others that name one, and why."""


def names_layers(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    return any(
        (isinstance(node, ast.Attribute) and node.attr in LAYER_CLASSES and ast.unparse(node.value).endswith("nn"))
        or (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("torch.nn")
            and any(alias.name in LAYER_CLASSES for alias in node.names)
        )
        for node in ast.walk(tree)
    )


def test_a_layer_is_described_in_one_place() -> None:
    naming = {
        module for module, path in sources() if module.split(".")[0] in ("graph", "export") and names_layers(path)
    }
    assert {module for module in naming if not module.startswith("graph.layers.")} == NAMING_LAYERS.keys()
