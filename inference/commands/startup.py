"""A quick start for commands that end at once."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """A module that is imported when something is first asked of it."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        whole = importlib.import_module(self.__name__)  # noqa: TID251  # torch, named below
        return getattr(whole, name)


def lightly() -> None:
    """Prepare for a command that ends at once.

    There is no garbage to collect, and torch waits until something is asked of it: the catalogue
    only names it.
    """
    gc.disable()
    if "torch" not in sys.modules:
        later = _Later("torch")
        later.__spec__ = importlib.util.find_spec("torch")
        sys.modules["torch"] = later
