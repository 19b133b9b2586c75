"""The house: which room may import which, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mipro

PACKAGE = Path(mipro.__file__).parent
# each layer may import the layers before it and itself
LAYERS = (
    {"errors", "strict"},
    {"seeds", "lines"},
    {"tpe", "lm", "data", "workers", "stats", "looks"},
    {"programs", "improvement"},
    {"metrics"},
    {"preflight", "journal"},
    {"scoring", "demo_sets"},
    {"evaluation"},
    {"bootstrapping"},
    {"proposers"},
    {"optimizers"},
    {"worlds"},
    {"tasks"},
    {"importing", "terminal"},
    {"config"},
    {"running"},
    {"cli"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def modules() -> dict[str, Path]:
    """Dotted name → file, for every module but the public face."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name != "mipro":
            found[name] = path
    return found


def imports(path: Path) -> set[str]:
    """The mipro modules a file imports anywhere, names imported from a package resolved."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("mipro")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mipro"):
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else node.module)
    return found


MODULES = modules()


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_has_its_layer() -> None:
    assert {room(name) for name in MODULES} <= set(LEVEL)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_one_way(name: str) -> None:
    for other in imports(MODULES[name]):
        if other != "mipro" and room(other) != room(name):
            assert LEVEL[room(other)] < LEVEL[room(name)], (
                f"{name} imports {other}, which stands above or beside it"
            )


def test_there_is_no_cycle() -> None:
    graph = {name: imports(path) & set(MODULES) for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                # a package's own __init__ gathers its parts
                if not name.startswith(other + ".") and other != name:
                    visit(other, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def third_parties(statement: str) -> set[str]:
    code = (
        f"{statement}\nimport sys\n"
        "known = set(sys.stdlib_module_names)\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules} - known))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {"mipro", "cython_runtime"}  # the latter is how compiled numpy registers itself
    return {m for m in run.stdout.split() if m not in ours and not m.startswith(("_", "distutils"))}


def test_tpe_needs_numpy_and_scipy_only() -> None:
    assert third_parties("import mipro.tpe") <= {"numpy", "scipy"}


def test_importing_mipro_loads_nothing_it_does_not_need() -> None:
    assert third_parties("import mipro") <= set()


def test_importing_mipro_costs_at_most_twice_what_numpy_does() -> None:
    def seconds(statement: str) -> float:
        code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        command = [sys.executable, "-c", code]
        runs = [subprocess.run(command, capture_output=True, check=True) for _ in range(5)]
        return min(float(run.stdout) for run in runs)

    assert seconds("import mipro") <= 2 * seconds("import numpy")


def test_a_simulated_run_loads_neither_openai_nor_the_terminal() -> None:
    loaded = third_parties("import mipro; mipro.optimize; mipro.SimulatedLM; mipro.Program")
    assert not loaded & {"openai", "tiktoken", "pydantic", "rich", "typer", "sklearn", "bm25s"}


def test_public_names_resolve_and_no_submodule_hides_one() -> None:
    for name in mipro.__all__:
        assert getattr(mipro, name) is not None
    # importing everything must not put a module where a function is promised
    code = (
        "import mipro, pkgutil, importlib\n"
        "for m in pkgutil.walk_packages(mipro.__path__, 'mipro.'):\n"
        "    importlib.import_module(m.name)\n"
        "assert all(map(callable, (mipro.optimize, mipro.evaluate, mipro.bootstrap)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'optimise'"):
        _ = mipro.optimise
