"""What a preprocessing is, as plain values that are the same in every process that has the same one."""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import json
import logging
import os
import threading
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from monai.transforms.traits import RandomizableTrait

__all__ = ["UndescribableError", "describe_value"]

# State of a running process and not of what is done: MONAI's transforms hold some, part of it made on first use.
_STATE = (
    np.random.RandomState, np.random.Generator, torch.Generator, threading.local, type(threading.Lock()),
    type(threading.RLock()), logging.Logger,
)  # fmt: skip


class UndescribableError(TypeError):
    """A value that has no description from which another process would know the same one."""


def describe_value(value: Any) -> Any:
    """Describe a value, and what it holds, by what JSON holds: without addresses, and without state of this process.

    Objects are described by the name of their class and their attributes, functions and classes by their names,
    functions without a name of their own by their code and what they enclose, arrays by a checksum. What a named
    function or class *does* is not looked into: after a change of its code the description is the same.

    Raises:
        UndescribableError: a transform that draws at random, or a value with neither parts nor a name.
    """
    return _describe(value, ())


def _describe(value: Any, within: tuple[int, ...]) -> Any:
    if value is None or (isinstance(value, (bool, int, float, str)) and type(value).__module__ == "builtins"):
        return value
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, enum.Enum):
        return {"enum": f"{_name(type(value))}.{value.name}"}
    if isinstance(value, (torch.dtype, torch.device, np.dtype)):
        return {"name": str(value)}
    if isinstance(value, os.PathLike):
        return {"path": os.fspath(value)}
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return _array(value)
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial)):
        return _function(value, within)
    if id(value) in within:
        return {"again": len(within) - within.index(id(value))}  # it holds itself: so many levels up
    within = (*within, id(value))
    if isinstance(value, Mapping):
        pairs = [[_describe(key, within), _describe(entry, within)] for key, entry in value.items()]
        return {"mapping": sorted(pairs, key=json.dumps)}
    if isinstance(value, (list, tuple)):
        return [_describe(entry, within) for entry in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted((_describe(entry, within) for entry in value), key=json.dumps)}
    return _object(value, within)


def _object(value: Any, within: tuple[int, ...]) -> Any:
    if isinstance(value, RandomizableTrait) and type(value) is not Compose:  # which only hands a seed on
        raise UndescribableError(f"{_name(type(value))} draws at random")
    if isinstance(value, _STATE):
        return {"object": _name(type(value))}
    if isinstance(value, (range, slice)):
        return {"text": repr(value)}
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    if isinstance(value, types.ModuleType) or not (hasattr(value, "__dict__") or slots):
        # made by an extension: nothing to look into; NumPy's functions and methods of types have names
        own = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
        if not isinstance(own, str):
            raise UndescribableError(f"a value of type {_name(type(value))}")
        return {"named": own, "object": _name(type(value)), "of": _owner(value)}
    held = dict(getattr(value, "__dict__", {})) | {name: getattr(value, name) for name in slots if hasattr(value, name)}
    # an attribute of state counts as absent: MONAI makes some of them when a transform is first used
    kept = {name: entry for name, entry in sorted(held.items()) if not isinstance(entry, _STATE)}
    return {"object": _name(type(value)), "with": {name: _describe(entry, within) for name, entry in kept.items()}}


def _owner(value: Any) -> str:
    owner = getattr(value, "__objclass__", None)
    return str(getattr(value, "__module__", None)) if owner is None else _name(owner)


def _function(value: Any, within: tuple[int, ...]) -> Any:
    if isinstance(value, functools.partial):
        parts = [value.func, value.args, value.keywords]
        return {"partial": [_describe(part, within) for part in parts]}
    if isinstance(value, (types.MethodType, types.BuiltinFunctionType)):
        owner = value.__self__
        if owner is not None and not isinstance(owner, types.ModuleType):
            return {"method": value.__name__, "of": _describe(owner, within)}
        return {"function": _name(value)}
    if isinstance(value, type) or "<" not in value.__qualname__:
        return {"function": _name(value)}
    if id(value) in within:
        return {"again": len(within) - within.index(id(value))}
    within = (*within, id(value))
    enclosed = inspect.getclosurevars(value).nonlocals
    given = [value.__defaults__, value.__kwdefaults__]
    return {
        "function": _name(value), "code": _code(value.__code__),
        "with": [_describe(part, within) for part in (enclosed, *given)],
    }  # fmt: skip


def _code(code: types.CodeType) -> str:
    """Checksum of what a function does, whichever file and line it stands in."""
    total = hashlib.sha256(code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, frozenset):  # its order is another one in each process
            constant = sorted(map(repr, constant))
        total.update((_code(constant) if isinstance(constant, types.CodeType) else repr(constant)).encode())
    total.update(repr((code.co_names, code.co_varnames)).encode())
    return total.hexdigest()


def _array(value: Any) -> Any:
    array = np.ascontiguousarray(value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value)
    if array.dtype.hasobject:
        raise UndescribableError("an array of objects")
    return {
        "array": hashlib.sha256(array.tobytes()).hexdigest(), "shape": list(array.shape), "dtype": str(array.dtype),
    }  # fmt: skip


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
