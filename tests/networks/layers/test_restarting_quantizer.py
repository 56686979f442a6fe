"""The quantiser: what MONAI's does in its first step, and that ours does not."""

from __future__ import annotations

import torch
from monai.networks.layers import EMAQuantizer

from monai_semgan.networks.layers import RestartingQuantizer


def features(count: int = 2, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(count, 8, 4, 4, generator=torch.Generator().manual_seed(0))


def largest(quantizer: EMAQuantizer) -> float:
    return float(quantizer.embedding.weight.norm(dim=1).max())


def test_codes_that_are_not_hit_stay_where_they_are() -> None:
    torch.manual_seed(0)
    theirs, ours = EMAQuantizer(2, 64, 8, decay=0.99), RestartingQuantizer(2, 64, 8, decay=0.99)
    for quantizer in (theirs, ours):
        quantizer.train()
        quantizer(features(1, 0.1))
    assert largest(theirs) > 1e3  # the defect: if this fails, MONAI has mended it, and the class may go
    for _ in range(50):
        ours(features(1, 0.1))
    assert largest(ours) < 10


def test_finding_codes_changes_nothing_in_training_mode_neither() -> None:
    quantizer = RestartingQuantizer(2, 16, 8).train()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    codes = quantizer.codes(features())
    assert codes.shape == (2, 4, 4)
    assert torch.equal(quantizer.similarity(features()).argmax(1), codes)
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())
    quantizer(features())
    assert not torch.equal(quantizer.embedding.weight, before["embedding.weight"])


def test_codes_are_drawn_from_all_kinds_of_features() -> None:
    torch.manual_seed(0)
    rare = torch.zeros(1, 8, 32, 32)
    rare[:, :, 0, 0], rare[:, :, 0, 1] = 5.0, -5.0
    quantizer = RestartingQuantizer(2, 4, 8)
    quantizer.initialise(rare)
    found = quantizer.embed(quantizer.codes(rare))
    assert float((found - rare).abs().max()) < 0.5  # two of 1024 places differ, and each has its code


def test_unused_codes_move_to_what_is_badly_described() -> None:
    torch.manual_seed(0)
    quantizer = RestartingQuantizer(2, 6, 8)
    kept = quantizer.embedding.weight[:4].clone()
    quantizer.ema_cluster_size.copy_(torch.tensor([1.0, 1, 1, 1, 0.01, 0.0]))
    where = torch.zeros(2, 4, 4)
    where[0, 0, 0] = where[1, 3, 3] = 1.0
    assert quantizer.restart(features(), where) == 2
    assert torch.equal(quantizer.embedding.weight[:4], kept)
    wanted = torch.stack([features()[0, :, 0, 0], features()[1, :, 3, 3]])
    distance = torch.cdist(quantizer.embedding.weight[4:], wanted)
    assert float(distance.min(1)[0].max()) < 0.1
    assert float(quantizer.ema_cluster_size.min()) == 1.0
    assert quantizer.restart(features(), where) == 0
