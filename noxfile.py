"""Every way to set up, test, lint and benchmark Penrose. `nox -l` lists them."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True

DISTRIBUTIONS = (
    ".",
    "plugins/penrose-torch",
    "plugins/penrose-tensorboard",
    "plugins/penrose-prometheus",
    "contrib/penrose-flights",
    "contrib/penrose-river",
)
TEST_TOOLS = ("pytest>=8", "pytest-timeout>=2.3", "hypothesis>=6.100", "psutil>=6", "hatchling>=1.25", "editables>=0.5")
#: Frameworks that must not be imported by `penrose --help`: a test needs them installed to show that.
FRAMEWORKS = ("tensorflow-cpu==2.21.0", "ray==2.60.0", "apache-beam==2.77.0")


def install(session: nox.Session, *more: str) -> None:
    """Install every distribution of this repository, editable, with the versions that CI uses."""
    editable = [part for path in DISTRIBUTIONS for part in ("-e", path)]
    session.install("-c", "constraints.txt", *editable, *TEST_TOOLS, *more)


@nox.session
def quick(session: nox.Session) -> None:
    """The tests of daily work: a few minutes, nothing is killed, no frameworks but PyTorch."""
    install(session)
    session.run("pytest", "-m", "not slow and not faults", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, with every framework installed beside Penrose."""
    install(session, *FRAMEWORKS)
    session.run("pytest", *session.posargs)


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
    install(session)
    scripts = session.posargs or sorted(str(path) for path in Path("tests/benchmarks").glob("bench_*.py"))
    for script in scripts:
        session.run("python", script)


@nox.session
def dev(session: nox.Session) -> None:
    """An environment to work in, at `.venv`: everything installed, editable."""
    session.run("python", "-m", "venv", ".venv", external=True)
    editable = [part for path in DISTRIBUTIONS for part in ("-e", path)]
    tools = (*TEST_TOOLS, "nox", "ruff==0.17.6", "mypy==2.4.1", "types-PyYAML")
    session.run(".venv/bin/pip", "install", "-q", "-c", "constraints.txt", *editable, *tools, external=True)
