"""MONAI Label: a server that segments, takes corrections, and trains on them and on the unlabelled scans.

Nothing here is imported by the rest of the package, and the command imports `monailabel` only when a server is started:
it belongs to the extra `label`.
"""

from __future__ import annotations

__all__: list[str] = []
