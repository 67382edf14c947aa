"""Who may import whom: the layers of the package, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mggtalk_cli"
STAGES = {"face", "head", "motion", "deform", "splat", "render", "inpaint"}
BASE = {"core", "errors", "version"}
# pipeline.py and the modules it is split into form one layer.
PIPELINE = {
    *("pipeline", "driver", "portrait", "assembly", "sheets", "drawing", "clouds", "plys"),
    *("tensors", "motion_sheet", "heads", "tracking", "takes", "variants"),
}
MAY_IMPORT = {
    "cli": PIPELINE | {"training", "evaluation", "artifacts"} | BASE,
    "training": PIPELINE | STAGES | {"evaluation", "artifacts"} | BASE,
    # Its protocols run the tool as a user would; tests/evaluation keeps its metrics to BASE.
    "evaluation": PIPELINE | STAGES | {"artifacts"} | BASE,
    "artifacts": BASE,
    "core": {"errors", "version"},
    "errors": set(),
    "__main__": {"cli"},
    **dict.fromkeys(PIPELINE, PIPELINE | STAGES | {"artifacts"} | BASE),
    **dict.fromkeys(STAGES, BASE),
}
SOURCES = sorted(PACKAGE.rglob("*.py"))
# Loading these costs seconds; `mggtalk --help` and the artifact reader must not.
HEAVY = {"torch", "numba", "av", "librosa", "cv2", "scipy", "ai_edge_litert", "gsplat"}


def layer_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield absolute dotted names of the package's own modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            # `from mggtalk_cli import face, __version__` names modules and values alike.
            for alias in node.names:
                top = module == "mggtalk_cli"
                name = "version" if alias.name == "__version__" else alias.name
                yield f"{module}.{name}" if top else module


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_layers(path: Path) -> None:
    layer = layer_of(path)
    if layer == "__init__":
        return
    names = [
        n for n in imported(ast.parse(path.read_text("utf-8"))) if n.startswith("mggtalk_cli.")
    ]
    used = {name.split(".")[1] for name in names} - {layer}
    assert used <= MAY_IMPORT[layer], f"{layer} may not import {sorted(used - MAY_IMPORT[layer])}"


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if layer_of(p) in ("cli", "artifacts", "errors")],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_light_layers_load_nothing_heavy(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    top_level = {
        name.split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported(node)
    }
    assert not top_level & HEAVY
