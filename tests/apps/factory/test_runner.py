"""The whole loop with a source without a network: same seed, same bytes, whatever interrupts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_semgan.apps.factory import AnatomyRules, Filters, NearestSlices, PairFactory
from monai_semgan.apps.factory.runner import count_reasons
from monai_semgan.apps.factory.store import LOG, PairStore
from monai_semgan.utils import InputError
from tests.apps.factory.ellipse_source import EllipseSource

REPOSITORY = Path(__file__).resolve().parents[3]
SPACING = (11.0, 11.0, 6.0)
KILLED = """
import os, signal, sys
from tests.apps.factory import ellipse_source, test_runner

class Deadly(ellipse_source.EllipseSource):
    def synthesise(self, *given, **named):
        if self.calls == 70:  # in the middle of sample 14, that is of the third batch
            os.kill(os.getpid(), signal.SIGKILL)
        return super().synthesise(*given, **named)

test_runner.make(sys.argv[1], 20, source=Deadly(empty=0.2))
"""


def make(
    folder: str | Path,
    number: int = 20,
    batch_size: int = 5,
    max_tries: int = 200,
    source: EllipseSource | None = None,
    **options,
) -> tuple[PairStore, PairFactory, bool]:
    factory = PairFactory(source or EllipseSource(empty=0.2), AnatomyRules.fixed(2), **options)
    store = PairStore(folder, {"seed": factory.seed}, SPACING)
    return store, factory, factory.run(store, number, max_tries, batch_size)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    assert make(folder)[2]
    return content(folder)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_the_batch_size_changes_no_byte(tmp_path, whole, batch_size):
    make(tmp_path, batch_size=batch_size)
    assert content(tmp_path) == whole


def test_another_seed_gives_other_pairs(tmp_path, whole):
    make(tmp_path, seed=1)
    other = content(tmp_path)
    same = [name for name in other if name.startswith("images") and other[name] == whole.get(name)]
    assert same == []


def test_killed_and_started_again_it_ends_the_same(tmp_path, whole):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    before = len((tmp_path / LOG).read_text(encoding="utf-8").splitlines())
    assert 0 < before < 20
    source = EllipseSource(empty=0.2)
    store, _, enough = make(tmp_path, source=source)
    assert enough
    assert source.calls == 5 * (len(store.records) - before)  # nothing is made twice
    assert content(tmp_path) == whole


def test_files_without_a_line_are_written_again(tmp_path, whole):
    make(tmp_path, number=8, batch_size=1)
    lines = (tmp_path / LOG).read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / LOG).write_text("".join(lines[:-2]), encoding="utf-8")
    store, _, _ = make(tmp_path)
    assert content(tmp_path) == whole
    assert len({record["index"] for record in store.records}) == len(store.records)


def test_more_pairs_may_be_asked_for_later(tmp_path, whole):
    make(tmp_path, number=3)
    store, _, enough = make(tmp_path, number=20)
    assert enough
    assert content(tmp_path) == whole
    assert make(tmp_path, number=10)[0].records == store.records


def test_what_is_kept_keeps_to_the_limits(tmp_path):
    store, factory, _ = make(tmp_path, filters=Filters(empty_fraction=0.1, max_entropy=0.4), views=2)
    kept = store.kept
    assert len(kept) == 20
    assert sum(record["empty"] for record in kept) <= 2
    assert max(record["quality"]["entropy"] for record in kept) <= 0.4
    assert count_reasons(store.rejected).get("empty", 0) > 0
    label = np.asarray(nib.load(tmp_path / "labels" / f"made{kept[3]['index']:06d}.nii.gz").dataobj)
    assert float(label.mean()) == pytest.approx(
        sum(o["area_share"] for o in kept[3]["quality"]["organs"].values()), abs=1e-5
    )
    drawn = factory.draw(kept[3]["index"])
    assert np.array_equal(drawn.label[:, 0].numpy().transpose(1, 2, 0), label)


def test_every_score_is_in_the_record():
    record = PairFactory(EllipseSource(critic=True), AnatomyRules.fixed(2)).make(0).record
    assert {"seed", "latent_norm", "truncation", "latents", "nearest", "empty"} <= set(record)
    assert {"entropy", "agreement", "critic", "organs", "body_share"} <= set(record["quality"])


def test_the_critic_refuses_the_share_that_was_asked_for(tmp_path):
    factory = PairFactory(
        EllipseSource(critic=True), AnatomyRules.fixed(2), Filters(critic_worst=0.3, critic_samples=60)
    )
    least = factory.critic_threshold()
    store = PairStore(tmp_path, {}, SPACING)
    factory.run(store, 40, 200, critic_least=least)
    assert 0.15 < len(store.rejected) / len(store.records) < 0.5
    assert PairFactory(EllipseSource(), AnatomyRules.fixed(2)).critic_threshold() is None


def test_copies_are_refused_unless_they_are_to_be_kept(tmp_path):
    made = PairFactory(EllipseSource(), AnatomyRules.fixed(2))
    images = torch.cat([made.draw(index).image for index in range(12)])  # the training set is what will be made
    nearest = NearestSlices(images, [f"ct{i}" for i in range(12)])
    for keep in (False, True):
        store, _, _ = make(
            tmp_path / str(keep),
            4,
            max_tries=12,
            source=EllipseSource(),
            nearest=nearest,
            filters=Filters(memorised=not keep),
        )
        assert [min(record["nearest"]["ratios"].values()) < 1 for record in store.records] == [True] * len(
            store.records
        )
        assert len(store.kept) == (4 if keep else 0)
    assert store.records[3]["nearest"]["scan"] == "ct3"


def test_stacks(tmp_path):
    store, _, enough = make(tmp_path, 3, depth=3)
    assert enough
    picture = nib.load(tmp_path / "images" / f"made{store.kept[0]['index']:06d}.nii.gz")
    assert picture.shape == (32, 32, 3)
    assert picture.header.get_zooms() == SPACING


def test_it_stops_when_too_many_are_refused(tmp_path):
    store, _, enough = make(tmp_path, 5, max_tries=7, filters=Filters(min_agreement=1.0, max_entropy=0.0))
    assert not enough
    assert (len(store.kept), len(store.records)) == (0, 7)


class Bodiless(EllipseSource):
    def synthesise(self, *given, **named):
        image, probability = super().synthesise(*given, **named)
        return image * 0 + 0.2, probability


def test_what_no_training_could_read_is_never_kept(tmp_path):
    filters = Filters(None, None, None, anatomy=False, memorised=False)
    store, _, _ = make(tmp_path, 1, max_tries=3, source=Bodiless(), filters=filters)
    assert store.kept == []
    assert all(reason.startswith("unusable") for record in store.rejected for reason in record["reasons"])


@pytest.mark.parametrize(
    ("options", "word"), [({"truncation": 0}, "truncation"), ({"depth": 0}, "depth"), ({"views": -1}, "views")]
)
def test_numbers_out_of_range(options, word):
    with pytest.raises(InputError, match=f"option {word}"):
        PairFactory(EllipseSource(), AnatomyRules.fixed(2), **options)
