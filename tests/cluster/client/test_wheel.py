"""What `pip install ringkeep` brings: the client and the command line, in an environment of their own."""

import importlib.metadata
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.support.cluster.cluster import HOST, Cluster
from tests.support.paths import ROOT

from ringkeep.cli.main import SERVER_PACKAGES

pytestmark = pytest.mark.cluster


def run(*command: object, expected: int = 0) -> str:
    done = subprocess.run(list(map(str, command)), cwd="/", capture_output=True, text=True, timeout=60)
    assert done.returncode == expected, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def needed(requirements: list[str], found: dict[str, importlib.metadata.Distribution]) -> None:
    """Find, in this environment, what these need, without their extras."""
    for requirement in map(Requirement, requirements):
        name = canonicalize_name(requirement.name)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and name not in found:
            found[name] = importlib.metadata.distribution(name)
            needed(found[name].requires or [], found)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place], cwd=ROOT, check=True
    )
    [found] = place.iterdir()
    return found


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The programs of a new environment in which the wheel is installed, and what it says that it needs. That
    is taken from this environment, so that no index is asked."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=False)
    programs = place / "bin"
    run(
        sys.executable, "-m", "pip", "--python", programs / "python", "install", "--no-deps", "--no-index",
        "--quiet", wheel,
    )  # fmt: skip
    [packages] = place.glob("lib/python*/site-packages")
    [described] = importlib.metadata.distributions(name="ringkeep", path=[str(packages)])
    distributions: dict[str, importlib.metadata.Distribution] = {}
    needed(described.requires or [], distributions)
    for each in distributions.values():
        for top in {file.parts[0] for file in each.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            (packages / top).symlink_to(Path(str(each.locate_file(top))))
    yield programs


def test_it_is_pure_python_and_typed(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"ringkeep/py.typed", "ringkeep/client/__init__.py", "ringkeep/contrib/django.py"} <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"ringkeep"}
    assert all(name.endswith((".py", ".typed")) for name in names if ".dist-info/" not in name)


def test_the_client_and_the_command_line_need_nothing_of_a_node(programs: Path, nodes: Cluster) -> None:
    endpoint = f"http://{HOST}:{nodes.places[nodes.names[0]].http}"
    script = f"""
from importlib.util import find_spec
assert not [name for name in {sorted(SERVER_PACKAGES)} if find_spec(name)]
from ringkeep.client import Client
from ringkeep.contrib.mapping import StoreMapping
from ringkeep.contrib.shelve import Shelf
with Client("{endpoint}") as store:
    StoreMapping(store, "wheel/")["k"] = b"of the client"
"""
    run(programs / "python", "-I", "-c", script)
    assert "Usage" in run(programs / "ringkeep", "--help")
    assert "of the client" in run(programs / "ringkeep", "get", "wheel/k", "--endpoint", endpoint)
    run(programs / "ringkeep", "put", "wheel/k", "of the command", "--endpoint", endpoint)
    assert "of the command" in run(programs / "ringkeep", "get", "wheel/k", "--endpoint", endpoint)
    assert "ringkeep[server]" in run(programs / "ringkeep", "node", "--name", "n", expected=1)
