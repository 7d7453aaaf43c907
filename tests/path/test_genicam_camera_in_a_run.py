"""A camera of another maker, from its packets to the heights of the deposit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis.metrics import metrics
from operando.configuration import load_bench, load_cell
from operando.runs import Run
from techniques import Protocol, Schedule

CELL = "zn-bare-half"
SERVED = ("potentiostat", "relay_board", "gige_camera")


@pytest.mark.needs_aravis
def test_frames_of_twelve_bits_show_the_deposit_that_was_there(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(CELL, factor=400.0, instruments=SERVED)
    bench = load_bench("sim-aravis")
    camera = bench.instruments["camera"].model_copy(update={"pixel_format": "Mono12"})
    bench = bench.model_copy(update={"instruments": bench.instruments | {"camera": camera}})
    protocol = plate_strip(CELL, 2.0, 0.4, every=Schedule(image_s=150.0, burst_for_s=0.0))
    with chain.simulated(), chain.session(bench) as session:
        uid = session.run_protocol(protocol, cell=load_cell(CELL))
    run = Run.from_journal(uid, chain.data)
    stream = run.streams["camera"]
    images = stream.asset("camera_image")
    assert len(stream) == len(images) >= 5
    assert np.asarray(images[0]).dtype == np.uint16
    assert np.all(stream.columns["camera_lamp"] == 1)
    assert stream.configuration["camera_pixel_format"] == "Mono12"
    assert stream.configuration["camera_gain"] == 0
    told = run.start["bench"]["instruments"]["camera"]
    assert told["language"] == "aravis"
    assert told["identity"]["sdk_version"].startswith("Aravis")
    # One frame was exposed for each row, and its time is the row's.
    truth = chain.truth("camera", "frame")
    assert [line["ticks"] for line in truth] == stream.columns["camera_device_time"].tolist()
    began = np.array([line["host_time"] for line in truth])
    assert np.all(began >= stream.columns["camera_host_before"])
    assert np.all(began <= stream.columns["camera_host_after"])
    found = metrics(run)["image_thickness_um"]
    # The mean height has the dendrite in it: a Gaussian of 20 pixels in 1472 columns.
    dendrite = np.sqrt(2 * np.pi) * 20 / 1472
    there = [
        line["thickness_um"] + dendrite * (line["highest_um"] - line["thickness_um"])
        for line in truth
    ]
    assert max(there) > 1  # two pixels
    assert found.value == pytest.approx(there, abs=0.15)
