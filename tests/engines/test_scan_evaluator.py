"""A bad scan amid good ones is skipped, named and reported; the good ones are done."""

from __future__ import annotations

import logging

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines.utils import IterationEvents
from monai.handlers import MeanDice, from_engine
from monai.transforms import Lambdad

from monai_semgan.data import TolerantDataset
from monai_semgan.engines import ScanEvaluator
from monai_semgan.utils import InputError
from tests.scans import ReportingInferer


def load(value):
    if value == "bad":
        raise InputError("scan cannot be read")
    return torch.full((1, 4, 4, 3), float(value))


def loader(*values):
    items = [{"name": f"scan{k}", "image": value} for k, value in enumerate(values)]
    return DataLoader(TolerantDataset(items, Lambdad("image", load)), batch_size=1, num_workers=0)


def evaluator(data, **kwargs):
    return ScanEvaluator(torch.device("cpu"), data, torch.nn.Identity(), **kwargs)


def test_bad_scans_are_skipped_and_named(caplog):
    engine = evaluator(loader(1, "bad", 3))
    seen = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append(e.state.output[0]["pred"].max().item()))
    with caplog.at_level(logging.INFO):
        engine.run()
    assert seen == [1.0, 3.0]
    assert engine.failures == [("scan1", "scan cannot be read")]
    assert engine.completed == ["scan0", "scan2"]
    assert "2 of 3 scans done" in caplog.text
    assert "no result for scan1" in caplog.text
    with pytest.raises(InputError, match=r"1 of 3 scans gave no result.*\n.*scan1: scan cannot be read"):
        engine.raise_failures()


def test_good_runs_raise_nothing_and_a_second_run_starts_afresh():
    engine = evaluator(loader("bad", 2))
    engine.run()
    engine.data_loader = loader(1, 2)
    engine.run()
    assert engine.failures == []
    assert engine.completed == ["scan0", "scan1"]
    engine.raise_failures()


@pytest.mark.parametrize(
    "error", [RuntimeError("inside"), MemoryError("no memory"), torch.cuda.OutOfMemoryError("gpu")]
)
@pytest.mark.parametrize("place", ["inferer", "postprocessing", "handler"])
def test_trouble_inside_one_scan_is_that_scans_alone(place, error):
    def fail_on_two(data):
        value = data["pred"] if isinstance(data, dict) else data
        if float(value.max()) == 2.0:
            raise error
        return data

    kwargs = {
        "inferer": {"inferer": lambda inputs, network: fail_on_two(network(inputs))},
        "postprocessing": {"postprocessing": fail_on_two},
        "handler": {},
    }[place]
    engine = evaluator(loader(1, 2, 3), **kwargs)
    if place == "handler":
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda e: fail_on_two(e.state.output[0]))
    engine.run()
    assert engine.completed == ["scan0", "scan2"]
    assert engine.failures == [("scan1", f"{type(error).__name__}: {error}")]


def test_the_user_can_still_stop_the_run():
    def interrupt(inputs, network):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluator(loader(1), inferer=interrupt).run()


def test_the_report_of_the_inferer_reaches_postprocessing_and_output():
    seen = []

    def post(data):
        seen.append(data["report"])
        return data

    engine = evaluator(loader(1), inferer=ReportingInferer(), postprocessing=post)
    engine.run()
    assert engine.state.output[0]["report"] == {"reconstruction_error": [0.0, 1.0, 2.0], "steps": 3}
    assert seen == [engine.state.output[0]["report"]]
    assert engine.state.output[0]["pred"].shape == (1, 4, 4, 3)  # decollated


def test_metrics_never_see_a_skipped_scan():
    items = [{"name": str(k), "image": v, "label": 1} for k, v in enumerate((1, "bad", 0))]
    data = DataLoader(TolerantDataset(items, Lambdad(["image", "label"], load)), batch_size=1)
    metric = MeanDice(include_background=True, output_transform=from_engine(["pred", "label"]))
    engine = evaluator(data, key_val_metric={"dice": metric})
    engine.run()
    assert engine.state.metrics["dice"] == pytest.approx(0.5)
    assert len(engine.failures) == 1


def test_all_scans_bad_still_ends_in_order():
    engine = evaluator(loader("bad", "bad"))
    engine.run()
    assert len(engine.failures) == 2
    with pytest.raises(InputError, match="2 of 2"):
        engine.raise_failures()
