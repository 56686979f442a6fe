"""Pictures of a run inside of the page, small enough to be sent by mail."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..tracked_runs.tracked_run import TrackedRun
from .markup import Markup, tag

__all__ = ["Pictures", "Series"]

_KEPT_BYTES = 160_000  # a PNG below this goes in as it is
_MOST_BYTES = 24_000_000  # of all pictures of a page
_WIDEST = 1600
_FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}
_SERIES = re.compile(r"(?P<key>.+?)[+%]step[+%](?P<step>\d+)[+%]timestamp[+%](?P<time>\d+)[+%].*\.(png|jpe?g)$")
Box = Callable[[int, int], "tuple[int, int, int, int] | None"]
_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".webp")


@dataclass(frozen=True)
class Series:
    """Pictures of one thing over the training.

    Args:
        key: its name.
        steps: images seen -> path of the picture.
    """

    key: str
    steps: dict[int, str]

    def spread(self, count: int) -> list[tuple[int, str]]:
        """At most ``count`` of them, evenly spread, with the first and the last."""
        items = sorted(self.steps.items())
        if len(items) <= count:
            return items
        places = [round(place * (len(items) - 1) / (count - 1)) for place in range(count)]
        return [items[place] for place in dict.fromkeys(places)]


class Pictures:
    """Takes pictures of a run into the page, each once.

    Args:
        run: where they are.

    Attributes:
        series: pictures that were logged with a step, by key.
        used: paths that the page shows.
        left_out: paths that could not be shown, with the reason.
    """

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self.used: list[str] = []
        self.left_out: dict[str, str] = {}
        self._bytes = 0
        steps: dict[str, dict[int, str]] = {}
        for path in run.files:
            found = _SERIES.fullmatch(path.removeprefix("images/"))
            if path.startswith("images/") and found and "compressed" not in path:
                steps.setdefault(found["key"].replace("#", "/"), {})[int(found["step"])] = path
        self.series = {key: Series(key, dict(sorted(found.items()))) for key, found in sorted(steps.items())}

    def named(self, *words: str) -> list[str]:
        """Single pictures not shown yet whose file name holds one of ``words`` (without words: all of them)."""
        return [
            path for path in self.run.files
            if path.lower().endswith(_ENDINGS) and path not in self.used and path not in self.left_out
            and not path.startswith("images/") and "compressed" not in path
            and (not words or any(word in path.rpartition("/")[2].lower() for word in words))
        ]  # fmt: skip

    def figure(self, path: str, caption: Any, alt: str, box: Box | None = None) -> Markup | None:
        """A picture with a caption, or None when it cannot be shown.

        Args:
            path: of the artifact.
            caption: below it.
            alt: for those who cannot see it.
            box: gives the part to show ``(left, top, right, bottom)`` from width and height; where it gives None,
                there is no figure, and the picture stays unused.
        """
        data, size = self._embed(path, box)
        if data is None:
            return None
        picture = tag("img", src=data, alt=alt, width=size[0], height=size[1])
        return tag("figure", picture, tag("figcaption", caption) if caption else None)

    def _embed(self, path: str, box: Box | None) -> tuple[str | None, tuple[int, int]]:
        contents = self.run.read(path)
        if contents is None:
            self.left_out[path] = "the file is not there any more"
            return None, (0, 0)
        try:
            small, mime, size = _smaller(contents, box)
        except LookupError:
            return None, (0, 0)
        except Exception:  # not a picture, whatever its name says
            self.left_out[path] = "not a picture"
            return None, (0, 0)
        if self._bytes + len(small) > _MOST_BYTES:
            self.left_out[path] = "the page would become too large"
            return None, (0, 0)
        self._bytes += len(small)
        if box is None:
            self.used.append(path)
        return f"data:{mime};base64,{base64.b64encode(small).decode()}", size


def _smaller(contents: bytes, box: Box | None) -> tuple[bytes, str, tuple[int, int]]:
    """The picture with its type and size; a large one, or a part of one, as JPEG."""
    from PIL import Image

    with Image.open(io.BytesIO(contents)) as picture:
        if picture.format not in _FORMATS:
            raise ValueError(f"format {picture.format}")
        if box is not None:
            part = box(*picture.size)
            if part is None:
                raise LookupError("the picture has no such part")
            return _as_jpeg(picture.crop(part))
        moving = getattr(picture, "n_frames", 1) > 1
        if len(contents) <= _KEPT_BYTES or moving:
            picture.verify()
            return contents, _FORMATS[picture.format], picture.size
        if picture.width > _WIDEST:
            picture = picture.resize(
                (_WIDEST, round(picture.height * _WIDEST / picture.width)), Image.Resampling.LANCZOS
            )
        return _as_jpeg(picture)


def _as_jpeg(picture: Any) -> tuple[bytes, str, tuple[int, int]]:
    from PIL import Image

    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture.convert("RGB"), mask=picture.convert("RGBA").getchannel("A"))
    stream = io.BytesIO()
    flat.save(stream, format="JPEG", quality=86, optimize=True)
    return stream.getvalue(), "image/jpeg", flat.size
