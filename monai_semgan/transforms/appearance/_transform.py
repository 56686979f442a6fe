"""Base classes that turn a batched appearance function into MONAI array and dictionary transforms."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_tensor

__all__ = ["AppearanceTransform", "AppearanceTransformd"]


class AppearanceTransform(RandomizableTransform):
    """Apply a batched appearance function to one channel-first image (C, H, W) or (C, H, W, D).

    Args:
        prob: probability that anything happens.
        strength: 0..1, passed to the function; 0 is the identity.
        value_range: low and high end of the image's grey values; air is the low end.
        kwargs: further arguments of the wrapped function.

    Each channel is changed on its own. The random numbers come from MONAI's ``self.R``
    (``set_random_state``).
    """

    function: Callable[..., torch.Tensor]
    takes_label = False

    def __init__(
        self,
        prob: float = 1.0,
        strength: float = 1.0,
        value_range: tuple[float, float] = (-1.0, 1.0),
        **kwargs: Any,
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        self.arguments = {"strength": strength, "value_range": tuple(value_range), **kwargs}
        self.seed = 0

    def randomize(self, data: Any = None) -> None:
        super().randomize(data)
        # Drawn even when nothing happens, so that a stream of items does not depend on earlier outcomes.
        self.seed = int(self.R.randint(np.iinfo(np.int32).max))

    def __call__(
        self, img: NdarrayOrTensor, label: NdarrayOrTensor | None = None, randomize: bool = True
    ) -> NdarrayOrTensor:
        """Changed image of the input's type, shape and metadata.

        Args:
            img: (C, H, W) or (C, H, W, D) in ``value_range``.
            label: (1, H, W[, D]) index map, read only by the transforms that use regions.
            randomize: False repeats the last random numbers.
        """
        if randomize:
            self.randomize()
        if not self._do_transform:
            return img
        batch = convert_to_tensor(img, dtype=torch.float32, track_meta=False)[:, None]
        arguments = dict(self.arguments)
        if self.takes_label and label is not None:
            regions = convert_to_tensor(label, track_meta=False)[:1, None]
            arguments["label"] = regions.expand(batch.shape[0], *regions.shape[1:])
        generator = torch.Generator().manual_seed(self.seed)
        changed = type(self).function(batch, generator=generator, **arguments)[:, 0]
        return convert_to_dst_type(changed, img, dtype=getattr(img, "dtype", None))[0]


class AppearanceTransformd(RandomizableTransform, MapTransform):
    """Dictionary form of an :class:`AppearanceTransform`.

    Args:
        keys: images to change; all of them with the same random numbers.
        prob: probability that anything happens.
        strength: 0..1; 0 is the identity.
        value_range: low and high end of the images' grey values.
        label_key: index map that guides the regions, read and never changed; left out when the item has none.
        allow_missing_keys: do not raise when a key is missing.
        kwargs: further arguments of the wrapped function.
    """

    array_class: type[AppearanceTransform]

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 1.0,
        strength: float = 1.0,
        value_range: tuple[float, float] = (-1.0, 1.0),
        label_key: Hashable | None = None,
        allow_missing_keys: bool = False,
        **kwargs: Any,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.label_key = label_key
        self.transform = self.array_class(prob=1.0, strength=strength, value_range=value_range, **kwargs)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> AppearanceTransformd:
        super().set_random_state(seed, state)
        self.transform.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with its images changed; every other entry is passed on untouched."""
        item = dict(data)
        self.randomize(None)
        self.transform.randomize()
        if not self._do_transform:
            return item
        label = item.get(self.label_key) if self.label_key is not None else None
        for key in self.key_iterator(item):
            item[key] = self.transform(item[key], label=label, randomize=False)
        return item
