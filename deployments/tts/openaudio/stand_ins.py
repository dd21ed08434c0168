"""fish-speech's codec without the packages that its modules import and never call.

Those are for training, and pull in hundreds of megabytes. They are stood in for while the codec's modules
are imported, and are gone from `sys.modules` afterwards: nobody else ever sees a stand-in.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
import threading
import types
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import nn

_lock = threading.Lock()


class _AudioModel(nn.Module):
    """What the codec inherits from audiotools; nothing of it is used."""


@contextmanager
def codec_modules() -> Generator[tuple[Any, Any], None, None]:
    """fish-speech's `modded_dac` and `rvq` modules, imported; deprecations in them are not shown."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = dict(sys.modules)
        try:
            for module in _stand_ins():
                sys.modules.setdefault(module.__name__, module)
            yield (
                importlib.import_module("fish_speech.models.dac.modded_dac"),
                importlib.import_module("fish_speech.models.dac.rvq"),
            )
        finally:
            for name in list(sys.modules):
                if name.partition(".")[0] in ("audiotools", "librosa", "soundfile", "dac"):
                    if name in before:
                        sys.modules[name] = before[name]
                    else:
                        del sys.modules[name]


def _stand_ins() -> list[types.ModuleType]:
    """`dac` is there for its submodules: its own `__init__` imports all of audiotools."""
    spec = importlib.util.find_spec("dac")
    roots = list((spec.submodule_search_locations if spec else None) or [])
    return [
        _module("librosa"),
        _module("soundfile"),
        _module("audiotools", [], AudioSignal=object, STFTParams=object),
        _module("audiotools.ml", [], BaseModel=_AudioModel),
        _module("dac", roots),
        _module("dac.nn", [f"{root}/nn" for root in roots]),
        _module("dac.model", [f"{root}/model" for root in roots]),
    ]


def _module(name: str, path: list[str] | None = None, **names: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=path is not None)
    if path is not None:
        module.__path__ = path
    module.__dict__.update(names)
    return module
