"""Every way to set up, test, lint and benchmark Penrose. `nox -l` lists them."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests", "wheels"]
nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True
# uv leaves it to Python to keep what it compiles; without that each of hundreds of processes compiles TensorFlow anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# CMake compiles one file at a time where nobody says otherwise.
os.environ.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))

DISTRIBUTIONS = (
    ".",
    "plugins/penrose-torch",
    "plugins/penrose-tensorflow",
    "plugins/penrose-tensorboard",
    "plugins/penrose-prometheus",
    "plugins/penrose-kafka",
    "contrib/penrose-flights",
    "contrib/penrose-river",
    "contrib/penrose-sklearn",
    "tfplus_ext",
    "tfplus_ext/tfplus_tensorflow",
)
#: Extras that tests need: formats of messages, a broker to log in to, TensorFlow.
EXTRAS = {
    ".": "[avro]",
    "plugins/penrose-kafka": "[avro,dev]",
    "plugins/penrose-tensorflow": "[cpu]",
    "tfplus_ext/tfplus_tensorflow": "[cpu]",
}
TEST_TOOLS = (
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "psutil>=6",
    "hatchling>=1.25",
    "editables>=0.5",
    "uv>=0.9",
    "vowpalwabbit>=9.11",
)
#: Test files side by side, in the order of `tests/conftest.py`. One more than processors: tests of Kafka mostly wait.
SIDE_BY_SIDE = ("-n", str((os.cpu_count() or 1) + 1), "--dist", "loadfile", "--no-loadscope-reorder")
#: What `quick` leaves out: a broker to wait for, TensorFlow to import, wheels to build. `nox -s quick -- tests/kafka`.
DEAR = ("kafka", "tensorflow", "tfplus_tensorflow", "wheels")
#: Frameworks that must not be imported by `penrose --help`: a test needs them installed to show that.
FRAMEWORKS = ("ray", "apache-beam")


def editable(*, without: str | None = None) -> list[str]:
    """What installs every distribution of this repository for editing, but for what lies in `without`."""
    kept = [path for path in DISTRIBUTIONS if without is None or not Path(path).is_relative_to(without)]
    return [part for path in kept for part in ("-e", path + EXTRAS.get(path, ""))]


def install(session: nox.Session, *more: str) -> None:
    """Install every distribution of this repository, editable, with the versions that CI uses."""
    session.install("-c", "constraints.txt", *editable(), *TEST_TOOLS, *more)


@nox.session
def quick(session: nox.Session) -> None:
    """The tests of daily work: a few minutes, nothing is killed, neither Ray nor Beam, no TensorFlow, no broker."""
    install(session)
    left_out = [f"--ignore=tests/{folder}" for folder in DEAR]
    session.run("pytest", *SIDE_BY_SIDE, "-m", "not slow and not faults", *(session.posargs or left_out))


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, with every framework installed beside Penrose."""
    install(session, *FRAMEWORKS)
    session.run("pytest", *(session.posargs or SIDE_BY_SIDE))


@nox.session(venv_backend="none")
def soak(session: nox.Session) -> None:
    """What breaks things, with all kills that the tests list: a quarter of an hour; in the environment of `tests`."""
    session.notify("tests", [*SIDE_BY_SIDE, "-m", "faults", "--kills", "30", "--timeout", "1200", *session.posargs])


@nox.session
def wheels(session: nox.Session) -> None:
    """Contracts, and one run of each plugin, against the installed wheel of the lowest host that plugins declare."""
    plugins = [path for path in DISTRIBUTIONS if path != "."]
    hosts = [host_source(session, version) for version in sorted({lowest_host(path) for path in plugins} - {None})]
    built = Path(session.create_tmp()).resolve()
    for stale in built.glob("*.whl"):
        stale.unlink()
    for source in [*hosts, *plugins]:
        session.run("uv", "build", "--quiet", "--wheel", "--out-dir", str(built), source)
    wheels = [str(path) for path in sorted(built.glob("*.whl"))]
    extras = [name(path) + extra for path, extra in EXTRAS.items()]
    # An environment that is used again has wheels of the same version.
    anew = [f"--reinstall-package={name(path)}" for path in DISTRIBUTIONS]
    session.install("-c", "constraints.txt", *anew, *wheels, *extras, *TEST_TOOLS)
    # Without the folder where it starts on its path, a child process of a test finds the wheel and not this tree.
    installed = {"PYTHONSAFEPATH": "1"}
    check = "import penrose_host as host; assert 'site-packages' in host.__file__, host.__file__"
    session.run("python", "-c", check, env=installed)
    contracts = sorted(str(path) for path in Path("tests").glob("*/test_contract*.py"))
    session.run("pytest", *SIDE_BY_SIDE, "-m", "not slow", *contracts, "tests/wheels", env=installed)


def name(path: str) -> str:
    """The name of the distribution in this folder."""
    return str(tomllib.loads(Path(path, "pyproject.toml").read_text())["project"]["name"])


def lowest_host(path: str) -> str | None:
    """The lowest version of penrose-host that a distribution of this repository declares; None where it needs none."""
    dependencies = tomllib.loads(Path(path, "pyproject.toml").read_text())["project"]["dependencies"]
    declared = next((text for text in dependencies if text.startswith("penrose-host")), None)
    return None if declared is None else declared.split(">=")[1].split(",")[0].strip()


def host_source(session: nox.Session, version: str) -> str:
    """The folder of that host version: this tree, or the commit tagged with it."""
    current = tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]
    if current == version or current.startswith(f"{version}."):
        return "."
    folder = str(Path(session.create_tmp(), f"host-{version}").resolve())
    session.run("git", "worktree", "add", "--force", folder, f"v{version}", external=True)
    return folder


@nox.session
def sanitizers(session: nox.Session) -> None:
    """The native extension built anew with AddressSanitizer and UBSan, then with ThreadSanitizer, and its tests (GCC).

    Python itself is not instrumented: the sanitizers' libraries are loaded before it. Only what runs beside something
    else is run under ThreadSanitizer, which cannot follow a fork.
    """
    session.install("-c", "constraints.txt", *editable(without="tfplus_ext"), *TEST_TOOLS)
    folder = "tests/tfplus_ext"
    # A limit of memory leaves no room for what AddressSanitizer keeps; of the others most is PyTorch's work.
    without = [f"--ignore={folder}/test_{name}.py" for name in ("no_memory", "default", "torch")]
    beside = [f"{folder}/test_threads.py", f"{folder}/test_snapshots.py", "-k", "not fork"]
    for kind, libraries, options, selected in (
        ("address,undefined", ("libasan.so", "libubsan.so"), {"ASAN_OPTIONS": "detect_leaks=0"}, [folder, *without]),
        ("thread", ("libtsan.so",), {"TSAN_OPTIONS": "halt_on_error=1"}, beside),
    ):
        place = Path(session.create_tmp(), kind.replace(",", "-")).resolve()
        build = ("-C", f"cmake.define.TFPLUS_SANITIZE={kind}", "-C", f"build-dir={place / 'build'}")
        session.install("--no-deps", "--upgrade", "--target", str(place / "site"), *build, "./tfplus_ext")
        paths = [session.run("g++", f"-print-file-name={name}", external=True, silent=True) for name in libraries]
        loaded = {"LD_PRELOAD": " ".join(str(path).strip() for path in paths), "PYTHONPATH": str(place / "site")}
        environment = {**loaded, **options, "UBSAN_OPTIONS": "print_stacktrace=1", "OPENBLAS_NUM_THREADS": "1"}
        # With --capture=sys the sanitizers' reports are seen, though the process ends with them.
        session.run("pytest", "-q", "--capture=sys", *(session.posargs or selected), env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, style and types."""
    session.install(
        "-c", "constraints.txt", "-e", ".", "pytest", "hypothesis", "ruff==0.17.6", "mypy==2.4.1", "types-PyYAML"
    )
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Peers and Penrose in one run; prints ratios, asserts nothing about time."""
    install(session, "orjson>=3.10")
    scripts = session.posargs or sorted(str(path) for path in Path("tests/benchmarks").glob("bench_*.py"))
    for script in scripts:
        session.run("python", script)


@nox.session
def dev(session: nox.Session) -> None:
    """An environment to work in, at `.venv`: everything installed, editable."""
    if not Path(".venv").exists():
        session.run("uv", "venv", ".venv")
    tools = (*TEST_TOOLS, "nox[uv]", "ruff==0.17.6", "mypy==2.4.1", "types-PyYAML")
    session.run("uv", "pip", "install", "-q", "--python", ".venv", "-c", "constraints.txt", *editable(), *tools)
