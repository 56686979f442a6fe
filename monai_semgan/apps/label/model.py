"""One configuration of a bundle, ready to segment scans on a server."""

from __future__ import annotations

import copy
import json
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from ...inferers import AppearanceEnsembleInferer
from ...inferers.scan_quality import scan_quality
from ...utils import InputError
from ..error_messages import find_input_error
from .versions import ModelVersions

__all__ = ["Segmentation", "ServedModel"]

INVERSION = "monai_semgan.inferers.LatentInversionInferer"
LIMITED = "monai_semgan.apps.label.time_limit.TimeLimitedInversionInferer"


@dataclass(frozen=True)
class Segmentation:
    """A mask on the scan's own grid, and what the inferer says of it.

    Args:
        path: NIfTI file, uint8; the caller removes it.
        quality: estimate to one number an organ, as ``scan_quality`` gives them.
        report: the inferer's.
        version: of the weights.
    """

    path: Path
    quality: dict[str, list[float]]
    report: dict[str, Any]
    version: int


class ServedModel:
    """Runs ``configs/<config>`` of a bundle on single scans: the very evaluator that the bundle's own command runs.

    The network is kept in memory and read again when another version is served. One scan at a time: calls of several
    threads wait for each other.

    Args:
        root: the bundle's folder.
        config: file name in ``configs``.
        versions: the weights; None for those that the configuration names.
        device: where to compute.
        time_limit: seconds for a latent optimisation (None: no limit).

    Raises:
        InputError: the configuration, its weights or their settings are missing or do not fit each other.
    """

    def __init__(
        self,
        root: Path,
        config: str,
        versions: ModelVersions | None = None,
        device: str = "cpu",
        time_limit: float | None = None,
    ) -> None:
        self.root, self.config_name = root, config
        path = root / "configs" / config
        if not path.is_file():
            raise InputError(f"bundle {root.name}", got=f"no configs/{config}", wanted="a configuration for inference")
        self.config: dict[str, Any] = ConfigParser.load_config_file(str(path))
        self.metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
        self.device = device
        self.time_limit = time_limit
        self.versions = versions or ModelVersions(root / "models", self._own_checkpoint())
        self.generative = self.config.get("inferer", {}).get("_target_") == INVERSION
        self._lock = threading.RLock()
        self._network: torch.nn.Module | None = None
        self._loaded: tuple[Any, ...] | None = None
        self.load()

    @property
    def labels(self) -> dict[str, int]:
        """Organ to the value it has in the mask."""
        channels = next(iter(self.metadata["network_data_format"]["outputs"].values()))["channel_def"]
        return {name: int(index) for index, name in channels.items() if int(index) > 0}

    @property
    def options(self) -> dict[str, Any]:
        """Settings that a request may change, with their defaults."""
        shown = self.config.get("displayable_configs", {})
        found = {}
        for name in shown:
            value = self.config.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found[name] = value
        if self.generative and self.time_limit is not None:
            found["time_limit"] = self.time_limit
        return found

    def load(self) -> tuple[torch.nn.Module, int]:
        """The served network and its version, read again if another version is served by now."""
        with self._lock:
            number, weights = self.versions.served()
            key = (number, str(weights), weights.stat().st_mtime_ns if weights.is_file() else 0)
            if self._network is None or key != self._loaded:
                parser = self._parser(weights)
                self._network, self._loaded = parser.get_parsed_content("network").eval(), key
            return self._network, number

    def segment(
        self, image: str | Path, output_dir: str | Path | None = None, name: str | None = None, **options: Any
    ) -> Segmentation:
        """Segment one scan, a file or a folder with a DICOM series.

        Args:
            image: path of the scan.
            output_dir: where the mask goes (None: a new temporary folder).
            name: shown in messages instead of the path.
            options: some of ``options`` with other values; ``steps`` and ``views`` besides.

        Raises:
            InputError: the scan cannot be read or segmented, or an option is out of range.
        """
        with self._lock:
            network, version = self.load()
            folder = Path(output_dir) if output_dir else Path(tempfile.mkdtemp(prefix="monai-semgan-label-"))
            parser = self._parser(self.versions.served()[1], options)
            parser["network"] = network
            parser["output_dir"] = str(folder)
            parser["dataset"]["data"] = [{"image": str(image), "name": name or "scan"}]
            parser["inferer"] = self._with_quality(_made(parser, "inferer"), options.get("views"))
            parser.parse(True)
            evaluator = parser.get_parsed_content("evaluator")
            evaluator.run()
            if evaluator.failures:
                raise InputError(_without_path(evaluator.failures[0][1], str(image), name or "scan"))
            found = sorted(folder.glob("*_seg.nii.gz"), key=lambda path: path.stat().st_mtime_ns)
            report = dict(getattr(evaluator.inferer, "report", {}))
        return Segmentation(found[-1], scan_quality(report, len(self.labels)), report, version)

    def build(self, name: str, changes: Mapping[str, Any] | None = None) -> Any:
        """Make the entry ``name`` of the configuration, with some entries replaced."""
        parser = self._parser(self.versions.served()[1])
        for entry, value in (changes or {}).items():
            parser[entry] = value
        return parser.get_parsed_content(name)

    def _parser(self, weights: Path, options: Mapping[str, Any] | None = None) -> ConfigParser:
        config = copy.deepcopy(self.config)
        config["bundle_root"] = str(self.root)
        config["checkpoint"] = str(weights)
        config["device"] = torch.device(self.device)
        for name, value in (options or {}).items():
            if name in config and name != "views":
                config[name] = value
        if self.generative and self.time_limit is not None:
            limit = (options or {}).get("time_limit", self.time_limit)
            config["inferer"] |= {"_target_": LIMITED, "time_limit": limit}
        return ConfigParser(config)

    @staticmethod
    def _with_quality(inferer: Any, views: Any) -> Any:
        """Around an inferer that says nothing about its mask, one that does; one view leaves the answer as it is."""
        if isinstance(inferer, AppearanceEnsembleInferer):
            return inferer
        return AppearanceEnsembleInferer(inferer, views or ["identity"])

    def _own_checkpoint(self) -> Path:
        parser = ConfigParser({**copy.deepcopy(self.config), "bundle_root": str(self.root)})
        return Path(parser.get_parsed_content("checkpoint"))


def _made(parser: ConfigParser, name: str) -> Any:
    """An entry of a configuration; an option out of range is told without the errors that MONAI wraps around it."""
    try:
        return parser.get_parsed_content(name)
    except Exception as error:
        found = find_input_error(error)
        if found is None:
            raise
        raise InputError(str(found)) from error


def _without_path(message: str, path: str, name: str) -> str:
    """A client is not told where the server keeps its files."""
    return message.replace(path, name)
