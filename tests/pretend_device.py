"""Tensors that behave as if they were on a GPU: what they may be mixed with, and what has to be brought back first.

A machine without a GPU lets a bank on "another device" go everywhere. This one refuses what CUDA refuses: operations of
tensors of both places, an index from the device into a tensor of the CPU, and NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from monai_semgan.data import SliceBank


class DeviceTensor(torch.Tensor):
    """As CUDA tensors, but for their values and the name of their device."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs, name = kwargs or {}, func.__name__
        if name in ("numpy", "__array__"):
            raise TypeError("can't convert a tensor of the device to numpy: use .cpu() first")
        here = [tensor for tensor in _tensors((args, kwargs)) if isinstance(tensor, cls)]
        there = [tensor for tensor in _tensors((args, kwargs)) if not isinstance(tensor, cls) and tensor.ndim]
        moves = name == "cpu" or (name == "to" and _to_cpu(args[1:], kwargs))
        stays = False
        if name in ("__getitem__", "__setitem__", "index_select"):
            inside = isinstance(args[0], cls)
            if not inside and any(tensor.ndim for tensor in here):
                raise RuntimeError("what is given to a tensor on the CPU should be on the CPU")
            stays = not inside
        elif here and there and any(tensor.ndim for tensor in here) and not moves and name not in ("copy_", "to"):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*(_plain(part) for part in args), **{key: _plain(part) for key, part in kwargs.items()})
        return found if moves or stays else _on_device(found)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _plain(value: Any) -> Any:
    if isinstance(value, DeviceTensor):
        return value.as_subclass(torch.Tensor)
    return type(value)(_plain(part) for part in value) if type(value) in (list, tuple) else value


def _on_device(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.as_subclass(DeviceTensor)
    return type(value)(_on_device(part) for part in value) if type(value) in (list, tuple) else value


def _to_cpu(args: tuple, kwargs: dict) -> bool:
    """Whether ``.to(...)`` names the CPU, or a tensor there."""
    named = [*args, *kwargs.values()]
    return any(
        (isinstance(part, (str, torch.device)) and torch.device(part).type == "cpu")
        or (isinstance(part, torch.Tensor) and not isinstance(part, DeviceTensor))
        for part in named
    )


def put_on_device(bank: SliceBank) -> SliceBank:
    """The bank as ``build_slice_bank(..., device=...)`` gives it."""
    labels = None if bank.labels is None else bank.labels.as_subclass(DeviceTensor)
    return replace(bank, images=bank.images.as_subclass(DeviceTensor), labels=labels)
