"""The package reads no clock, opens no socket, and knows nothing of the other packages."""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import pytest

import sigv4

MODULES = sorted(Path(sigv4.__file__).parent.glob("*.py"))
ALLOWED = {
    "__future__",
    "awscrt",
    "base64",
    "binascii",
    "calendar",
    "collections",
    "dataclasses",
    "datetime",
    "email",
    "enum",
    "functools",
    "hashlib",
    "hmac",
    "json",
    "re",
    "time",
    "typing",
    "zlib",
}
#: Of modules that could tell the time, only these may be used.
PURE = {"time": {"gmtime", "strftime"}, "datetime": {"fromisoformat"}}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_are_pure(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [] if node.level == 1 else [node.module or ""]
            assert node.level <= 1
        else:
            continue
        for name in names:
            assert name.split(".")[0] in ALLOWED, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_clock_is_read(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in PURE:
            assert node.attr in PURE[node.value.id], (
                f"{path.name}:{node.lineno} uses {node.value.id}.{node.attr}"
            )


def test_secrets_are_compared_in_constant_time_only() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                text = ast.unparse(node).lower()
                assert "signature" not in text or text == "name == _trailer_signature" or "b'" in text, (
                    f"{path.name}:{node.lineno} compares with ==: {text}"
                )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_examples_in_docstrings_hold(path: Path) -> None:
    module = importlib.import_module("sigv4" if path.stem == "__init__" else f"sigv4.{path.stem}")
    assert doctest.testmod(module).failed == 0


def test_modules_stay_readable() -> None:
    assert all(len(path.read_text().splitlines()) <= 500 for path in MODULES)


def test_public_names_exist_and_are_documented() -> None:
    assert sorted(set(sigv4.__all__)) == sorted(sigv4.__all__)
    for name in sigv4.__all__:
        value = getattr(sigv4, name)
        if callable(value):
            assert value.__doc__, name
