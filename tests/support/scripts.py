"""Scripts as modules: scripts/ is no package, so that each file there runs by itself.

Owns how a test loads one. Knows none of them.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from . import repo


def load_script(path: str) -> ModuleType:
    """The module at `path`, relative to the root; its `main` is not run."""
    name = path.removesuffix(".py").replace("/", "_")
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, repo.ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
