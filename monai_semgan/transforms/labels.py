"""Masks: choose and renumber organs, and go between index maps and the networks' channels in [-1, 1]."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from ..utils import InputError

__all__ = [
    "EncodeLabel",
    "EncodeLabelD",
    "EncodeLabelDict",
    "EncodeLabeld",
    "MapLabels",
    "MapLabelsD",
    "MapLabelsDict",
    "MapLabelsd",
    "decode_label",
    "encode_label",
]


class MapLabels(Transform):
    """Renumber a mask of any shape by ``{value in the file: value for the network}``; the rest becomes 0.

    Args:
        mapping: e.g. ``{1: 1}`` for the liver alone; keys may be text, as JSON writes them.
        known_values: values a mask may hold; None allows every whole number from 0 to 255.

    Raises:
        InputError: the mask holds fractions, negative or unknown values; the mapping is not made of whole
            numbers.
    """

    def __init__(self, mapping: Mapping[Any, int] | None = None, known_values: Any = None) -> None:
        mapping = {1: 1} if mapping is None else mapping
        try:
            self.mapping = {int(key): int(value) for key, value in mapping.items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError("option mapping", got=mapping, wanted="whole numbers, e.g. {1: 1}") from error
        if any(not 0 <= number <= 255 for pair in self.mapping.items() for number in pair):
            raise InputError("option mapping", got=mapping, wanted="numbers from 0 to 255")
        self.known_values = None if known_values is None else sorted({0, *(int(v) for v in known_values)})

    def __call__(self, label: torch.Tensor) -> torch.Tensor:
        where = f"mask {label.meta.get('filename_or_obj', '')}" if isinstance(label, MetaTensor) else "mask"
        if label.is_floating_point() and not bool((label == label.round()).all()):
            raise InputError(
                f"{where}: values that are not whole numbers",
                fix="resample masks with nearest neighbour only",
            )
        values = torch.unique(torch.as_tensor(label)).tolist()
        unknown = [v for v in values if not 0 <= v <= 255 or (self.known_values and int(v) not in self.known_values)]
        if unknown:
            raise InputError(
                f"{where}: unknown label values",
                got=unknown,
                wanted=f"values among {self.known_values}" if self.known_values else "0..255",
                fix="correct the mask, or add the values to known_values",
            )
        check_wanted_values(values, self.mapping, where)
        table = torch.zeros(256, dtype=torch.uint8, device=label.device)
        for source, target in self.mapping.items():
            table[source] = target
        plain = label.as_tensor() if isinstance(label, MetaTensor) else label
        mapped = table[plain.long()]
        return MetaTensor(mapped).copy_meta_from(label) if isinstance(label, MetaTensor) else mapped


def check_wanted_values(label: torch.Tensor | Iterable[float], wanted: Iterable[int], where: str) -> None:
    """Refuse a mask of one single organ whose number is none of ``wanted``: 255 for 1, most likely.

    A mask of several organs that lacks the wanted ones may be right (another part of the body).

    Raises:
        InputError: as said.
    """
    values = torch.unique(torch.as_tensor(label)).tolist() if isinstance(label, torch.Tensor) else label
    organs = [int(value) for value in values if value]
    if len(organs) == 1 and organs[0] not in (wanted := sorted(wanted)):
        raise InputError(
            f"{where}: no wanted label",
            got=f"the value {organs[0]} alone",
            wanted=f"the value {' or '.join(map(str, wanted))}",
            fix="renumber the mask, or name its value in label_mapping (training) or labels (evaluation)",
        )


class MapLabelsd(MapTransform):
    """Dictionary form of :class:`MapLabels`."""

    def __init__(
        self,
        keys: KeysCollection,
        mapping: Mapping[Any, int] | None = None,
        known_values: Any = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.map_labels = MapLabels(mapping, known_values)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.map_labels(d[key])
        return d


def encode_label(label: torch.Tensor, num_classes: int = 2) -> torch.Tensor:
    """Index maps ``(B, 1, ...)`` to network channels in {-1, +1}.

    Args:
        label: whole numbers in ``0..num_classes - 1``, any dtype.
        num_classes: classes including background. 2 gives one channel ``(B, 1, ...)``, +1 in the foreground;
            K > 2 gives ``(B, K, ...)`` with +1 in the channel of the class.

    Raises:
        ValueError: a value is out of range or the channel axis is not 1.
    """
    if label.ndim < 2 or label.shape[1] != 1:
        raise ValueError(f"wanted an index map of shape (B, 1, ...), got {tuple(label.shape)}")
    index = label.long()
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= num_classes):
        raise ValueError(f"label values {int(index.min())}..{int(index.max())} do not fit {num_classes} classes")
    if num_classes == 2:
        return index.to(torch.float32) * 2 - 1
    code = torch.full((index.shape[0], num_classes, *index.shape[2:]), -1.0, device=index.device)
    return code.scatter_(1, index, 1.0)


def decode_label(code: torch.Tensor) -> torch.Tensor:
    """Network channels ``(B, C, ...)`` in [-1, 1] (or logits) to an index map ``(B, 1, ...)``, uint8.

    One channel is cut at 0; of several the largest wins.
    """
    if code.shape[1] == 1:
        return (code > 0).to(torch.uint8)
    return code.argmax(dim=1, keepdim=True).to(torch.uint8)


class EncodeLabel(Transform):
    """:func:`encode_label` for one item without batch axis: ``(1, ...)`` to ``(1 or K, ...)``."""

    def __init__(self, num_classes: int = 2) -> None:
        if num_classes < 2:
            raise InputError("option num_classes", got=num_classes, wanted="2 or more, background included")
        self.num_classes = num_classes

    def __call__(self, label: torch.Tensor) -> torch.Tensor:
        plain = label.as_tensor() if isinstance(label, MetaTensor) else label
        code = encode_label(plain[None], self.num_classes)[0]
        return MetaTensor(code).copy_meta_from(label) if isinstance(label, MetaTensor) else code


class EncodeLabeld(MapTransform):
    """Dictionary form of :class:`EncodeLabel`."""

    def __init__(self, keys: KeysCollection, num_classes: int = 2, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.encode = EncodeLabel(num_classes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.encode(d[key])
        return d


MapLabelsD = MapLabelsDict = MapLabelsd
EncodeLabelD = EncodeLabelDict = EncodeLabeld
