"""Make `monailabel` importable beside current packages, and mend what of it would not work.

MONAI Label 0.8.5 imports torchvision for two drawing functions that the server never calls, and torchvision on the
package index is built for CUDA: beside a CPU build of torch its import raises. Where it is missing or broken, an empty
module of that name takes its place, in this process alone.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

from ...utils import InputError
from .requirements import INSTALL_LABEL

__all__ = ["mend_authentication", "prepare_monailabel"]


def prepare_monailabel() -> None:
    """Call it before anything of ``monailabel`` is imported; a second call does nothing.

    Raises:
        InputError: MONAI Label is not installed, or something that it imports is missing.
    """
    _prepare_torchvision()
    try:
        import setuptools  # noqa: F401  gives distutils, which Python 3.12 no longer has
        from monailabel.interfaces import app  # noqa: F401
    except ImportError as error:
        raise InputError(
            "MONAI Label cannot be started", got=str(error), wanted="the extra 'label'", fix=INSTALL_LABEL
        ) from error
    mend_authentication()


def mend_authentication() -> None:
    """Tell PyJWT which signatures count: MONAI Label names none, and PyJWT 2 then refuses every token."""
    import jwt
    from monailabel.endpoints.user import auth

    auth.jwt = SimpleNamespace(decode=partial(jwt.decode, algorithms=["RS256"]))


def _prepare_torchvision() -> None:
    if "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision.utils")
    except Exception:  # a build for another torch raises RuntimeError, not ImportError
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        package, utils = _empty("torchvision"), _empty("torchvision.utils")
        utils.make_grid = utils.save_image = _not_here  # type: ignore[attr-defined]
        package.utils = utils  # type: ignore[attr-defined]
        sys.modules |= {"torchvision": package, "torchvision.utils": utils}


def _empty(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    return module


def _not_here(*args: Any, **options: Any) -> None:
    raise RuntimeError("torchvision is not installed; the server of monai_semgan does not use it")
