"""Zinc watched by all four instruments: what each row says against what the simulator knows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from instruments._follower import Phase
from instruments.errors import UnsupportedTechniqueError
from operando.analysis import Metric, metrics
from operando.checking import estimate
from operando.configuration import load_bench, load_cell
from operando.history import write_history
from operando.journal import list_runs
from operando.runs import Run
from operando.simulation import SimulatedBench
from techniques import Protocol, Schedule

pytestmark = pytest.mark.timeout(180)
CELL = PRESET = "zn-bare-half"
ALL = ("potentiostat", "camera", "raman", "gas_chromatograph")
FOLLOWERS = ALL[1:]
FACTOR = 1000.0
TOLERANCE_S = 5.0
EVERY = Schedule(
    image_s=100,
    burst_for_s=12,
    burst_every_s=4,
    spectrum_s=400,
    injection_s=200,
    blank_spectra=1,
    integration_time_s=0.15,
    accumulations=2,
    tolerance_s=TOLERANCE_S,
)
RECORD = {"dt_s": 2.0, "de_v": 0.01, "edge_dt_s": 0.5, "edge_for_s": 10.0}
# How far apart the instrument's timer (tens of ppm, its rows cut to their step) and the cell's
# time may be, s: 100 ppm of the run's 20 minutes.
TIMER_S = 0.12
PIXEL_UM = 0.5
LEADS = ("t", "role")


@dataclass(frozen=True)
class Experiment:
    chain: Any
    run: Run
    numbers: dict[str, Metric]

    def column(self, stream: str, suffix: str, device: str | None = None) -> NDArray[np.float64]:
        return self.run.streams[stream].columns[f"{device or stream}_{suffix}"]

    @property
    def began_s(self) -> float:
        """Return the cell time at which the leader's clock stood at 0."""
        # The driver opens the cell by scripts of its own, when it connects and when it leaves.
        closed_s = self.chain.truth("potentiostat", "cell_on")[0]["cell_t_s"]
        begun = [line["cell_t_s"] for line in self.chain.truth("potentiostat", "script")]
        return float(max(t for t in begun if t <= closed_s))


@pytest.fixture(scope="module")
def experiment(make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]) -> Experiment:
    chain = make_chain(PRESET, factor=FACTOR, tolerance_s=TOLERANCE_S)
    protocol = plate_strip(CELL, 3.0, 0.4, record=RECORD, every=EVERY, rest_s=10.0)
    uid = chain.run(protocol, CELL, only=ALL)
    run = Run.from_journal(uid, chain.data)
    return Experiment(chain, run, metrics(run))


def test_every_instrument_has_a_stream_of_its_own(experiment: Experiment) -> None:
    streams = experiment.run.streams
    # Rules are judged, those by default, and none had to act.
    assert set(streams) == {*ALL, "impedance", "chromatogram", "rules", "programs"}
    assert not len(streams["rules"])
    assert all(len(streams[name]) for name in (*ALL, "chromatogram"))
    assert len(streams["chromatogram"]) == int(
        experiment.column("gas_chromatograph", "confirmed").sum()
    )
    assert experiment.run.stop is not None
    assert experiment.run.stop["exit_status"] == "success"


def test_the_room_that_was_estimated_holds_what_was_written_and_not_ten_times_as_much(
    experiment: Experiment, plate_strip: Callable[..., Protocol]
) -> None:
    protocol = plate_strip(CELL, 3.0, 0.4, record=RECORD, every=EVERY, rest_s=10.0)
    told = estimate(load_bench("sim").only(set(ALL)), protocol, load_cell(CELL))
    counts = {part.what: part.count for part in told.parts}
    for what, stream in (
        ("rows of the potentiostat", "potentiostat"),
        ("images", "camera"),
        ("spectra", "raman"),
        ("injections", "gas_chromatograph"),
    ):
        made = len(experiment.run.streams[stream])
        assert made - 1 <= counts[what] <= 3 * made, what
    files = [path for path in experiment.chain.data.rglob("*") if path.is_file()]
    written = sum(path.stat().st_size for path in files)
    assert written < told.bytes < 10 * written


@pytest.mark.parametrize("follower", FOLLOWERS)
def test_a_followers_row_lies_between_two_rows_of_the_leader(
    follower: str, experiment: Experiment
) -> None:
    before, after = (experiment.column(follower, f"t_{end}") for end in ("before", "after"))
    leader = experiment.column("potentiostat", "t")
    blank = experiment.column(follower, "phase") == Phase.BLANK
    # Before the first row there is no time yet; after the last there is none any more.
    assert np.isnan(before[blank]).all()
    assert np.isfinite(before[~blank]).all()
    both = np.isfinite(before) & np.isfinite(after)
    assert both.sum() >= len(before) - 2
    assert np.all(before[both] <= after[both])
    assert np.isin(before[np.isfinite(before)], leader).all()
    assert np.isin(after[np.isfinite(after)], leader).all()
    assert np.all(np.diff(before[~blank]) >= 0)


def frames(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the truth about each frame that was kept: the picture shown while it was exposed."""
    shown = experiment.chain.truth("camera", "frame")
    made = np.array([frame["host_time"] for frame in shown])
    # A row tells when its picture was loaded and how old that was.
    wanted = experiment.column("camera", "host_before") - experiment.column("camera", "age")
    nearest = np.abs(made[None, :] - wanted[:, None]).argmin(axis=1)
    np.testing.assert_allclose(made[nearest], wanted, atol=1e-4)
    return [shown[index] for index in nearest]


def test_the_true_time_of_each_frame_lies_between_the_leaders_times(
    experiment: Experiment,
) -> None:
    true = np.array([frame["cell_t"] for frame in frames(experiment)]) - experiment.began_s
    before, after = (experiment.column("camera", f"t_{end}") for end in ("before", "after"))
    after = np.where(np.isnan(after), np.inf, after)
    assert np.all(before <= true + TIMER_S)
    assert np.all(true <= after + TIMER_S)


def test_the_true_time_of_each_spectrum_lies_between_the_leaders_times(
    experiment: Experiment,
) -> None:
    lit = [line for line in experiment.chain.truth("raman", "spectrum") if line["laser_mj"] > 0]
    accumulations = int(experiment.column("raman", "accumulations")[0])
    rows = len(experiment.run.streams["raman"])
    assert len(lit) == rows * accumulations
    for row in range(rows):
        part = lit[row * accumulations : (row + 1) * accumulations]
        begun = part[0]["cell_t_s"] - experiment.began_s
        ended = part[-1]["cell_t_s"] + part[-1]["integration_s"] - experiment.began_s
        before, after = (experiment.column("raman", f"t_{end}")[row] for end in ("before", "after"))
        # A blank is taken before the program: nothing lies before it.
        assert np.isnan(before) or before <= begun + TIMER_S
        assert np.isnan(after) or ended <= after + TIMER_S


def test_the_true_time_of_each_injection_lies_between_the_leaders_times(
    experiment: Experiment,
) -> None:
    true = experiment.chain.truth("chromatograph", "injection")
    made = experiment.column("gas_chromatograph", "missed") == 0
    assert len(true) == made.sum()
    before, after = (
        experiment.column("gas_chromatograph", f"t_{end}")[made] for end in ("before", "after")
    )
    moments = np.array([line["cell_t_s"] for line in true]) - experiment.began_s
    assert np.all(before <= moments + TIMER_S)
    assert np.all(moments <= np.where(np.isnan(after), np.inf, after) + TIMER_S)


def test_followers_act_where_the_schedule_says(experiment: Experiment) -> None:
    leader = {key: experiment.column("potentiostat", key) for key in ("t", "role", "half_cycle")}
    plating = leader["t"][leader["role"] == -1]
    camera, phase = experiment.column("camera", "t_before"), experiment.column("camera", "phase")
    # A busy machine is late by more than the few seconds of a burst, which it then skips; no
    # machine is early.
    assert np.all(camera[phase == Phase.BURST] >= plating[0])
    assert np.sum(phase == Phase.REGULAR) >= 1
    assert np.sum(phase == Phase.REGULAR) <= leader["t"][-1] / EVERY.image_s + 1
    ends = [
        leader["t"][(leader["half_cycle"] == number) & (leader["role"] == role)][-1]
        for number, role in ((1, -1), (2, 1))
    ]
    for follower in FOLLOWERS:
        acted = experiment.column(follower, "t_before")[
            experiment.column(follower, "phase") == Phase.END
        ]
        assert len(acted) == len(ends), follower
        assert np.all(acted >= ends), follower


def test_followers_act_when_the_schedule_says(
    make_chain: Callable[..., Any],
    plate_strip: Callable[..., Protocol],
    in_time: Callable[..., Any],
) -> None:
    every = EVERY.model_copy(update={"image_s": 12.0})
    protocol = plate_strip(
        CELL, 3.0, 0.02, record=RECORD, every=every, rest_s=2.0, open_circuit_s=2.0
    )

    def run_it() -> Run:
        # So slow that the machine may look away for most of a second.
        chain = make_chain(PRESET, factor=8.0, tolerance_s=TOLERANCE_S)
        uid = chain.run(protocol, CELL, only=("potentiostat", "camera"))
        return Run.from_journal(uid, chain.data)

    in_time(run_it, lambda run: _acted_when_due(run, every))


def _acted_when_due(run: Run, every: Schedule) -> None:
    leader = {key: run.streams["potentiostat"].columns[f"potentiostat_{key}"] for key in LEADS}
    plating = leader["t"][leader["role"] == -1]
    late_s = TOLERANCE_S + 2.0  # and at most one row of the leader
    camera, phase = (
        run.streams["camera"].columns[f"camera_{key}"] for key in ("t_before", "phase")
    )
    burst = camera[phase == Phase.BURST]
    assert len(burst) >= 2
    assert burst[0] - plating[0] <= late_s
    assert np.all(burst <= plating[0] + every.burst_for_s + late_s)
    regular = camera[(phase == Phase.REGULAR) & (camera > plating[0])]
    assert len(regular) >= 2
    assert np.all(np.diff(regular) >= every.image_s - late_s)
    assert np.sum(phase == Phase.END) == 2


def test_lamp_and_laser_are_never_on_together(experiment: Experiment) -> None:
    assert np.all(experiment.column("camera", "lamp") == 1)
    assert np.all(experiment.column("camera", "laser") == 0)
    assert np.all(experiment.column("raman", "lamp") == 0)
    assert np.all(experiment.column("raman", "laser") == 1)
    assert not any(frame["laser"] for frame in experiment.chain.truth("camera", "frame"))
    assert not any(line["lamp"] for line in experiment.chain.truth("raman", "spectrum"))
    # And the laser is off at the end, as it is after each spectrum.
    powers = [line["power_mw"] for line in experiment.chain.truth("raman", "laser")]
    assert powers[-1] == 0
    assert powers[::2] == [powers[0]] * (len(powers) // 2)
    assert powers[0] > 0


def test_the_hydrogen_of_each_injection_is_what_was_there(experiment: Experiment) -> None:
    true = [
        line["hydrogen_mol"] * 1e6 for line in experiment.chain.truth("chromatograph", "injection")
    ]
    made = experiment.column("gas_chromatograph", "missed") == 0
    found = np.array(experiment.numbers["hydrogen_cumulative_umol"].value, dtype=float)[made]
    told = experiment.numbers["hydrogen_cumulative_umol"].uncertainty
    assert np.isfinite(found).any()
    for number, (umol, value) in enumerate(zip(true, found, strict=True)):
        if np.isfinite(value):
            # 0.5 % of the area is the injection's own scatter, the rest the detector's noise.
            u = told[np.flatnonzero(made)[number]]
            assert abs(value - umol) < 3 * np.hypot(u, 0.005 * umol)
        else:
            assert umol < 0.01  # below what the detector sees


def test_the_thickness_in_the_image_is_that_of_the_deposit_within_a_pixel(
    experiment: Experiment,
) -> None:
    true = [frame["thickness_um"] for frame in frames(experiment)]
    found = experiment.numbers["image_thickness_um"].value
    assert max(true) > 2 * PIXEL_UM
    np.testing.assert_allclose(found, true, rtol=0, atol=PIXEL_UM)


def test_schedule_cell_and_instruments_are_in_the_start_document(experiment: Experiment) -> None:
    start = experiment.run.start
    assert start["every"] == EVERY.model_dump(mode="json")
    assert start["sample"]["cell_id"] == load_cell(CELL).cell_id
    assert set(start["bench"]["instruments"]) == {*ALL, "relay_board"}


def test_bands_outside_the_axis_are_refused_before_anything_moves(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(PRESET, instruments=["potentiostat", "relay_board", "raman"])
    bench = load_bench("sim").only({"potentiostat", "raman"})
    spectrometer = bench.instruments["raman"].model_copy(update={"bands_cm1": (980.0, 9000.0)})
    bench = bench.model_copy(update={"instruments": bench.instruments | {"raman": spectrometer}})
    with chain.simulated(), chain.session(bench) as session:
        with pytest.raises(UnsupportedTechniqueError, match="9000") as caught:
            session.run_protocol(plate_strip(CELL, 1.0, 0.1, every=EVERY))
        # What one protocol asks of its spectra is not what the next one gets.
        assert session.devices["raman"].integration_time_s == spectrometer.integration_time_s
        assert session.devices["raman"].accumulations == spectrometer.accumulations
    assert "raman" in str(caught.value)
    assert list_runs(chain.data) == []
    assert chain.truth("potentiostat", "cell_on") == []
    assert chain.truth("raman", "laser") == []
    assert not list((chain.data / "assets").rglob("*.h5"))


@pytest.mark.long
def test_replayed_as_the_cell_every_instrument_serves_what_was_recorded(
    experiment: Experiment, plate_strip: Callable[..., Protocol], tmp_path: Path
) -> None:
    history = tmp_path / "history.h5"
    assert write_history(experiment.run, history) == ALL
    protocol = plate_strip(CELL, 3.0, 0.4, record=RECORD, every=EVERY, rest_s=10.0)
    simulated = SimulatedBench(history, FACTOR, directory=tmp_path / "sim", tolerance_s=TOLERANCE_S)
    with simulated, experiment.chain.session(ALL) as session:
        uid = session.run_protocol(protocol, cell=load_cell(CELL))
    run = Run.from_journal(uid, experiment.chain.data)
    again = Experiment(experiment.chain, run, metrics(run))
    np.testing.assert_allclose(
        again.numbers["ce_pct"].value, experiment.numbers["ce_pct"].value, atol=0.1
    )
    recorded = [image.tobytes() for image in experiment.run.streams["camera"].asset("camera_image")]
    # A frame is midway between the rows around it, or at the last row if none came after it.
    before, after = (experiment.column("camera", f"t_{end}") for end in ("before", "after"))
    taken = np.where(np.isnan(after), before, 0.5 * (before + after))
    halves = [-np.inf, *(0.5 * (taken[1:] + taken[:-1])), np.inf]
    served = again.run.streams["camera"].asset("camera_image")
    seen, until = (again.column("camera", f"t_{end}") for end in ("before", "after"))
    until = np.where(np.isnan(until), np.inf, until)
    for image, first, last in zip(served, seen, until, strict=True):
        number = recorded.index(image.tobytes())
        # It is the nearest one at some moment between the rows around its exposure.
        assert first - TIMER_S <= halves[number + 1]
        assert last + TIMER_S >= halves[number]
    for name, key in (
        ("raman", "raman_counts"),
        ("chromatogram", "gas_chromatograph_result_trace"),
    ):
        known = [np.asarray(x) for x in experiment.run.streams[name].asset(key)]
        for found in again.run.streams[name].asset(key):
            assert min(np.abs(found - other).max() for other in known) <= 0.51
