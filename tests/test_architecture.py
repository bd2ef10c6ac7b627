"""The layers hold: imports point one way, and a reward needs no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import timesight
from timesight.tasks import TASKS

ROOT = Path(timesight.__file__).parent

# Each line may import only from lines above it; packages on one line do not import each other.
LINES = [
    ["errors"],
    ["types", "files", "clients"],
    ["artifacts", "geometry", "statistics"],
    ["video", "tasks", "judge"],
    ["data", "world", "model"],
    ["prefix"],
    ["generate"],
    ["infer"],
    ["training", "evaluation", "chat", "bench"],
    ["reproduce"],
    ["report"],
    ["cli"],
]
FLOOR = {package: number for number, line in enumerate(LINES) for package in line}
REPORT_MAY_USE = {"report", "errors", "types", "files", "artifacts", "geometry", "statistics"}


def imports() -> Iterator[tuple[str, str, str]]:
    """(file, its package, imported package) for every import inside the package."""
    for file in ROOT.rglob("*.py"):
        relative = file.relative_to(ROOT)
        package = relative.parts[0].removesuffix(".py")
        if package in ("__init__", "__main__"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("timesight."):
                yield str(relative), package, str(node.module).split(".")[1]
            elif isinstance(node, ast.ImportFrom) and node.module == "timesight":
                yield from ((str(relative), package, alias.name) for alias in node.names if alias.name in FLOOR)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.startswith("timesight."):
                        yield str(relative), package, alias.name.split(".")[1]


def test_imports_are_found() -> None:
    assert ("tasks/temporal_grounding.py", "tasks", "geometry") in set(imports())


def test_imports_point_one_way() -> None:
    wrong = [
        f"{file} imports {target}"
        for file, package, target in imports()
        if package != target and FLOOR[target] >= FLOOR[package]
    ]
    assert not wrong


def test_report_reads_files_only() -> None:
    wrong = [
        f"{file} imports {target}"
        for file, package, target in imports()
        if package == "report" and target not in REPORT_MAY_USE
    ]
    assert not wrong


@pytest.mark.parametrize(
    "module", ["timesight", "timesight.tasks", "timesight.data", "timesight.video", "timesight.world"]
)
def test_loads_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_resolve_load_without_torch_and_are_documented() -> None:
    documented = (ROOT.parents[1] / "docs/api.md").read_text(encoding="utf-8")
    for name in timesight.__all__:
        value = getattr(timesight, name)
        assert value is not None
        assert f"`{name}`" in documented
        assert name == "TASKS" or value.__doc__
    assert sorted(timesight.__all__) == sorted(timesight._HOME)
    with pytest.raises(AttributeError, match="no_such_name"):
        timesight.no_such_name  # noqa: B018
    free = ["TASKS", "Box", "InputError", "Question", "Reply", "Sample", "Span", "Task", "Video", "read_dataset"]
    code = f"import sys, timesight; [getattr(timesight, n) for n in {free}]; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_task_is_named_outside_tasks() -> None:
    """A source and the world say whose samples they make through the task's class; all else asks the registry."""
    names = {name for name in TASKS if "_" in name} | {f'"{name}"' for name in TASKS}
    found = {
        f"{file.relative_to(ROOT)}: {node.value}"
        for file in ROOT.rglob("*.py")
        if file.relative_to(ROOT).parts[0] != "tasks"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names | set(TASKS)
    }
    assert not found


def test_versions_agree() -> None:
    root = ROOT.parents[1]
    for name, line in (
        ("pyproject.toml", f'version = "{timesight.__version__}"'),
        ("CITATION.cff", f"version: {timesight.__version__}"),
    ):
        assert line in (root / name).read_text(encoding="utf-8").splitlines()
    assert f"## {timesight.__version__} " in (root / "CHANGELOG.md").read_text(encoding="utf-8")
