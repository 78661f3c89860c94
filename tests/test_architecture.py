"""The house rules that a program can check: public names, layers, budgets, documents."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer.main

import reeltag
from reeltag.cli import app

SOURCE = Path(reeltag.__file__).parent
ROOT = Path(__file__).parent.parent
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = [
    ".".join(("reeltag", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in FILES
    if path.name != "__main__.py"
]
FORBIDDEN_FILES = {"utils", "util", "common", "helpers", "misc", "base", "core_utils", "tools", "shared", "stuff"}
FORBIDDEN_CALLS = {"pickle", "joblib", "dill", "shelve"}


def test_public_names_are_listed_and_importable() -> None:
    assert sorted(reeltag.__all__) == reeltag.__all__
    for name in reeltag.__all__:
        value = getattr(reeltag, name)
        assert value.__name__ == name
        assert value.__doc__
        home = value.__module__
        assert getattr(importlib.import_module(home), name) is value
    assert set(reeltag._HOME) == set(reeltag.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'reeltag' has no attribute 'Tager'"):
        reeltag.Tager  # noqa: B018


@pytest.mark.parametrize("name", MODULES)
def test_lists_of_public_names_are_true(name: str) -> None:
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public)


def test_version_is_one() -> None:
    from importlib.metadata import version

    assert reeltag.__version__ == version("reeltag")


def test_import_costs_nothing() -> None:
    code = "import sys, reeltag; print(sorted({'numpy', 'polars', 'torch', 'sklearn', 'typer'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_rooms_import_only_from_rooms_below() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    if not program.is_file() and shutil.which("lint-imports") is None:
        pytest.skip("import-linter is not installed")
    command = [str(program) if program.is_file() else "lint-imports", "--no-cache"]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"}
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "1 kept, 0 broken" in found.stdout


def test_every_room_has_its_layer() -> None:
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    layers = set(re.findall(r"reeltag\.(\w+)", settings.partition("[[tool.importlinter.contracts]]")[2]))
    rooms = {path.stem if path.is_file() else path.name for path in SOURCE.iterdir() if path.suffix in (".py", "")}
    assert rooms - layers - {"__init__", "__main__", "__pycache__"} == set()
    assert layers - rooms == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_budgets_and_forbidden_things(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert path.stem not in FORBIDDEN_FILES
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            assert not {name.split(".")[0] for name in names} & FORBIDDEN_CALLS
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            pytest.fail(f"print in line {node.lineno}: only the command line speaks, through show.say")
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            assert not broad, f"broad except in line {node.lineno}"


# the command line in the documents


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_documents_of_the_command_line_are_current() -> None:
    maker = generator()
    written = maker.PAGE.read_text("utf-8") if maker.PAGE.is_file() else ""
    assert written == maker.page(), "docs/cli.md is not current; write it anew with: python docs/make_cli.py"


def test_every_command_and_option_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    sections = {part.split("\n", 1)[0]: part for part in page.split("\n## reeltag ")[1:]}
    commands = dict(generator().commands_of(typer.main.get_command(app)))
    assert list(sections) == list(commands)
    for name, command in commands.items():
        assert command.help.strip().endswith("."), name
        for parameter in command.params:
            if parameter.name == "help":
                continue
            assert parameter.help, f"{name}: {parameter.name} has no help"
            for option in parameter.opts if parameter.param_type_name == "option" else [parameter.name.upper()]:
                assert f"`{option}`" in sections[name], f"{name}: {option} is not documented"
