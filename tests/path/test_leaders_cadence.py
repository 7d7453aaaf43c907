"""What followers add to the leader's cadence."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.runs import Run
from techniques import GalvanostaticStep, Limit, Protocol, Recording, Schedule

CELL = PRESET = "zn-bare-half"
FOLLOWERS = ("camera", "raman", "gas_chromatograph")


def test_pages_of_the_leader_do_not_wait_for_any_follower(
    make_chain: Callable[..., Any],
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """20 rows a second at factor 1, which it is whenever lamp, laser or start contact is in use.

    Asserted is the structure: no page spans an exchange. The gaps themselves are printed.
    """
    step = GalvanostaticStep(
        role="plate",
        current_density_ma_cm2=1.0,
        until=(Limit(quantity="time_s", value=80.0),),
        record=Recording(dt_s=0.05, edge_dt_s=0.05),
    )
    every = Schedule(
        image_s=12, burst_for_s=0, spectrum_s=20, injection_s=200, at_half_cycle_ends=False
    )
    protocol = Protocol(name="cadence", cell=CELL, technique=step, every=every)
    arrivals: list[tuple[float, float]] = []

    def watch(name: str, doc: dict[str, Any]) -> None:
        if name == "event_page" and "potentiostat_t" in doc["data"]:
            newest = max(doc["timestamps"]["potentiostat_t"])
            arrivals.append((time.time(), newest))

    chain = make_chain(PRESET, factor=80.0)
    with chain.simulated(), chain.session(("potentiostat", *FOLLOWERS)) as session:
        session.RE.subscribe(watch)
        uid = session.run_protocol(protocol)
    run = Run.from_journal(uid, chain.data)
    pages, newest = np.array(arrivals).T
    gaps = np.diff(pages)
    first, last = newest[0], newest[-1]
    spans = []
    for follower in FOLLOWERS:
        columns = run.streams[follower].columns
        spans += [
            (begun, ended)
            for begun, ended in zip(
                columns[f"{follower}_host_before"], columns[f"{follower}_host_after"], strict=True
            )
            if begun > first and ended < last
        ]
    long = [span for span in spans if span[1] - span[0] > 0.5]
    assert len(long) >= 2  # spectra, each as long as many pages
    # Of a single one a busy computer may have had no time for the pages.
    assert np.median([np.sum((pages > begun) & (pages < ended)) for begun, ended in long]) >= 2
    during = [
        gap
        for gap, end in zip(gaps, pages[1:], strict=True)
        if any(begun < end and end - gap < ended for begun, ended in spans)
    ]
    measured = {
        "pages": len(pages),
        "median_gap_s": float(np.median(gaps)),
        "longest_gap_s": float(np.max(gaps)),
        "longest_gap_during_exchanges_s": float(np.max(during)),
        "median_delay_of_the_newest_row_s": float(np.median(pages - newest)),
    }
    for name, value in measured.items():
        record_property(name, value)
    with capsys.disabled():
        told = ", ".join(f"{name} {value:.3g}" for name, value in measured.items())
        print(f"\n    [{told}]")
