"""Which module of this repository imports which: lazy imports, those for types only, and stubs count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def packages() -> list[Path]:
    """The folder of every package of this repository."""
    found = [ROOT / "penrose_host"]
    for pattern in ("plugins/*/src/*", "contrib/*/src/*", "tfplus_ext/src/*", "tfplus_ext/*/src/*"):
        found += sorted(path for path in ROOT.glob(pattern) if (path / "__init__.py").exists())
    return found


def modules() -> dict[str, Path]:
    """Dotted name → file, of every module."""
    found = {}
    for package in packages():
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def graph() -> dict[str, set[str]]:
    """Module → the modules that it imports."""
    known = modules()
    bound = {name: _bound(path) for name, path in known.items() if path.name == "__init__.py"}
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        is_package = path.name == "__init__.py"
        targets = found[name] = set()
        for source in (path, path.with_suffix(".pyi")):
            if source.exists():
                for module, member in _imports(ast.parse(source.read_text("utf-8")), name, is_package):
                    whole = f"{module}.{member}"
                    if whole in known:
                        targets.add(whole)
                    # What a package does not bind is a module that is built (an extension), not the package.
                    elif module in known and (module not in bound or member in ("", *bound[module])):
                        targets.add(module)
        targets.discard(name)
    return found


def _imports(tree: ast.AST, name: str, is_package: bool) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = name.split(".")[: len(name.split(".")) - node.level + is_package]
                base = ".".join([*up, *([base] if base else [])])
            yield from ((base, alias.name) for alias in node.names)


def _bound(path: Path) -> set[str]:
    """The names that a package itself has."""
    names = set()
    for source in (path, path.with_suffix(".pyi")):
        if not source.exists():
            continue
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names
