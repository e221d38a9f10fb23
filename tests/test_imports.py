"""The planes meet in `quota` only (design, section 1): who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "sigv4": {"sigv4"},
    "quota": {"quota"},
    "proxy": {"proxy", "sigv4", "quota"},
    "broker": {"broker", "sigv4", "quota"},
}


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            tops = {name.partition(".")[0] for name in names} & ALLOWED.keys()
            if tops - ALLOWED[package]:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {', '.join(sorted(tops))}")
    assert not wrong
