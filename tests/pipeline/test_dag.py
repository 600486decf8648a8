"""dvc.yaml against the code: every import is a dependency, and no stage is slow to start."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import DAG, OUTPUTS, ROOT, STAGES

# They carry values and files, and decide nothing: values are tracked as parameters.
NO_DEPENDENCY = {
    "k49/__init__.py",
    "k49/data/__init__.py",
    "k49/errors.py",
    "k49/io.py",
    "k49/model_file.py",
    "k49/process.py",
    "k49/progress.py",
    "k49/settings.py",
    "k49/stage.py",
    "k49/text.py",
}


def imports(file):
    """Full names of everything that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def modules(name):
    """The files of k49 that importing a name runs: the module and the packages around it."""
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        for file in (Path(*parts[:i]).with_suffix(".py"), Path(*parts[:i], "__init__.py")):
            if parts[0] == "k49" and (ROOT / file).is_file():
                yield file


def closure(stage):
    """The stage's script and every file of k49 that it imports, directly or not."""
    found, left = set(), {Path("stages", f"{stage}.py")}
    while left:
        file = left.pop()
        found.add(file)
        left |= {module for name in imports(file) for module in modules(name)} - found
    return found


def code(stage):
    """The dependencies of a stage that are code."""
    deps = {Path(dep) for dep in DAG["stages"][stage]["deps"] if dep.startswith(("k49", "stages"))}
    return deps - {Path("k49/datasets")}


@pytest.mark.parametrize("stage", STAGES)
def test_every_import_is_a_dependency(stage):
    missing = [
        str(file)
        for file in closure(stage)
        if str(file) not in NO_DEPENDENCY
        and not any(file.is_relative_to(dep) for dep in code(stage))
    ]
    assert not missing


@pytest.mark.parametrize("stage", STAGES)
def test_every_dependency_is_imported(stage):
    unused = [
        str(dep)
        for dep in code(stage)
        if not any(file.is_relative_to(dep) for file in closure(stage))
    ]
    assert not unused


def test_dependencies_are_listed_once_and_exist_or_are_outputs():
    for stage in STAGES:
        deps = DAG["stages"][stage]["deps"]
        assert len(deps) == len(set(deps)), stage
        missing = [dep for dep in deps if not (ROOT / dep).exists() and dep not in OUTPUTS]
        assert not missing, stage


def test_only_what_trains_or_uses_a_model_imports_keras():
    users = [s for s in STAGES if any(file.is_relative_to("k49/training") for file in closure(s))]
    assert users == ["tune", "train", "calibrate", "evaluate", "export"]


@pytest.mark.slow
def test_settings_are_checked_before_keras_is_imported():
    """Keras takes seconds: a typo in params.yaml must not wait for it, nor Ctrl-C."""
    imports = ", ".join(f"stages.{stage}" for stage in STAGES)
    command = [sys.executable, "-c", f"import sys, {imports}; print(*sys.modules)"]
    loaded = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert not {"keras", "tensorflow", "keras_tuner"} & set(loaded.split())
