"""How many small faults put into `mipro/tpe` do its quick tests catch? Run by `make mutants`.

mutmut makes the mutants (a comparison turned, a constant or an argument changed, a value None…),
here a sample of them is drawn by seed and each is run against the tests of the room. All of it
happens in a copy in a temporary folder: the working tree is only read. Mutants which differ from
the original in nothing but a string of an f-string or of a `raise` are left out, for the wording
of a message is not tested. mutmut does not mutate constants of modules and classes, nor properties.

    python tests/mutation/mutants.py --sample 200 --seed 0

Prints the share caught with its 95% Wilson interval, and each survivor as a diff. README.md beside
this file says what was found.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from math import sqrt
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOM = "mipro/tpe"
TESTS = ["tests/unit/tpe", "tests/properties/test_tpe.py", "tests/contracts/test_samplers.py"]
# under mutmut every function is wrapped, so this one sees an import that is mutmut's own
NOT_HERE = "tests/unit/tpe/test_sampler.py::test_only_numpy_and_scipy_are_imported"
SURVIVED = {0: "survived", 33: "no test runs it"}  # mutmut's exit codes; others are of caught ones


def copied(to: Path) -> None:
    """The package and its tests in ``to``, with mutmut's settings."""
    for name in ("mipro", "tests"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    settings = {
        "source_paths": ["mipro"],
        "only_mutate": [f"{ROOM}/*.py"],
        "also_copy": ["tests", "pyproject.toml"],
        "pytest_add_cli_args": ["-q", "-x", f"--deselect={NOT_HERE}"],
        "pytest_add_cli_args_test_selection": TESTS,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text = "\n".join([project, "[tool.mutmut]", *lines, ""])
    (to / "pyproject.toml").write_text(text, encoding="utf-8")


def mutmut(folder: Path, *args: str) -> str:
    """What the command says; its exit status tells nothing that its files do not."""
    command = [sys.executable, "-m", "mutmut", *args]
    done = subprocess.run(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.stdout


class _Wordless(ast.NodeTransformer):
    """Takes away what is said in an f-string or a `raise`."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        self.generic_visit(node)
        node.values = [v for v in node.values if not isinstance(v, ast.Constant)]
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                part.value = ""
        return self.generic_visit(node)


def meaning(function: ast.FunctionDef) -> str:
    """The body as text, without its wording."""
    return "".join(ast.dump(_Wordless().visit(part)) for part in function.body)


def mutants(folder: Path) -> list[str]:
    """The names of all mutants that change more than the wording of a message."""
    found: list[str] = []
    for path in sorted((folder / "mutants" / ROOM).glob("*.py")):
        module = path.relative_to(folder / "mutants").with_suffix("").as_posix().replace("/", ".")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {
            node.name: meaning(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
        }
        for name, text in functions.items():
            stem, mark, number = name.rpartition("__mutmut_")
            if mark and number.isdigit() and text != functions[f"{stem}__mutmut_orig"]:
                found.append(f"{module}.{name}")
    return found


def outcomes(folder: Path) -> dict[str, int]:
    """The exit code of each mutant that was run."""
    codes: dict[str, int] = {}
    for path in (folder / "mutants" / ROOM).glob("*.meta"):
        every = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        codes |= {name: code for name, code in every.items() if code is not None}
    return codes


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95% interval of a share."""
    z, p = 1.96, hits / count
    middle, half = p + z * z / (2 * count), z * sqrt(p * (1 - p) / count + (z / (2 * count)) ** 2)
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def main() -> None:
    """Draw, run, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=200, help="how many mutants; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="mutants whose name has this in it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        copied(folder)
        said = mutmut(folder, "run", "no such mutant")  # makes them, runs the tests once
        if not (folder / "mutants" / "mutmut-stats.json").exists():
            sys.exit(f"the tests do not pass without a mutant:\n{said[-3000:]}")
        every = [m for m in mutants(folder) if options.only in m]
        drawn = every
        if 0 < options.sample < len(every):
            drawn = random.Random(options.seed).sample(every, options.sample)
        said = mutmut(folder, "run", "--max-children", str(options.jobs), *drawn)
        codes = {m: code for m, code in outcomes(folder).items() if m in set(drawn)}
        if len(codes) != len(drawn):
            sys.exit(f"{len(drawn) - len(codes)} mutants were not run:\n{said[-3000:]}")
        left = sorted(m for m, code in codes.items() if code in SURVIVED)
        for mutant in left:
            print(f"{SURVIVED[codes[mutant]]}: {mutmut(folder, 'show', mutant)}", flush=True)
        low, high = wilson(len(drawn) - len(left), len(drawn))
        print(
            f"{len(drawn) - len(left)} of {len(drawn)} mutants caught ({len(every)} in all), "
            f"{1 - len(left) / len(drawn):.1%} [{low:.1%}, {high:.1%}]"
        )


if __name__ == "__main__":
    main()
