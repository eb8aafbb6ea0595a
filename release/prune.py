"""Take out of an environment what the operator never imports. Run by that environment's Python: `python prune.py`.

The package `kubernetes` is generated: a module for each API and each object of Kubernetes, twice, loaded when somebody
asks for its name. The operator asks for its few objects by path and JSON, so nearly all of these are never loaded.
This file stands alone: the image's build has nothing else of the folder it is in.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

GENERATED = (
    "kubernetes/client/api",
    "kubernetes/client/models",
    "kubernetes/aio/client/api",
    "kubernetes/aio/client/models",
)
"""Folders of generated modules that are loaded by name."""
SOURCES = ("*.pyi", "*.pyx", "*.pxd", "*.pxi", "*.c", "*.h", "*.hash")
"""What type checkers and compilers read, and Python does not."""


def import_everything() -> None:
    """Import every module of the operator, and with it all that they and their packages ask for at once."""
    package = importlib.import_module("cipher_operator")
    for module in pkgutil.walk_packages(package.__path__, "cipher_operator."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def removable(site: Path) -> Iterator[Path]:
    """Yield the files below site-packages that are never imported. To be called after `import_everything`."""
    loaded = {str(getattr(module, "__file__", None)) for module in list(sys.modules.values())}
    for folder in GENERATED:
        for source in sorted((site / folder).glob("*.py")):
            if source.name != "__init__.py" and str(source) not in loaded:
                yield source
                yield from (site / folder / "__pycache__").glob(f"{source.stem}.*.pyc")
    for pattern in SOURCES:
        yield from sorted(site.rglob(pattern))


def main() -> int:
    """Remove them, say how much that was, and return 0; 1 where a folder of generated modules is not there."""
    site = Path(sysconfig.get_path("purelib"))
    if missing := [folder for folder in GENERATED if not (site / folder).is_dir()]:
        sys.stderr.write(f"prune: {site} has no {', '.join(missing)}: the package's layout has changed\n")
        return 1
    import_everything()
    found = list(removable(site))
    size = sum(path.stat().st_size for path in found)
    for path in found:
        path.unlink()
    sys.stderr.write(f"prune: {len(found)} files, {size / 1e6:.1f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
