"""Boxes that only write files around one cell: what they wrote tells what the cell was."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from instruments.errors import InstrumentError
from operando.analysis import metrics
from operando.configuration import load_bench, load_cell
from operando.journal import list_runs
from operando.late import collect_late
from operando.report import text_report
from operando.runs import Run
from techniques import Protocol, Schedule

pytestmark = pytest.mark.timeout(180)
CELL = "zn-bare"
BOXES = ("ftir", "xrd", "afm", "ultrasound")


class Course:
    """A run during which the force microscope's folder was away for a while."""

    def __init__(self, chain: Any, protocol: Protocol) -> None:
        bench = load_bench("sim-writers").only({"potentiostat", "relay_board", *BOXES})
        folder, away = chain.sim / "afm_files", chain.sim / "afm_away"
        seen = self.written_meanwhile = 0

        def look(name: str, doc: dict[str, Any]) -> None:
            nonlocal seen
            if name == "event" and "afm_files" in doc["data"]:
                seen += 1
                if seen == 2:
                    folder.rename(away)
                elif seen == 4:
                    self.written_meanwhile = len(list(away.iterdir()))
                    away.rename(folder)

        with chain.simulated(), chain.session(bench) as session:
            session.connect()
            folder.rename(away)
            with pytest.raises(InstrumentError) as refused:
                session.run_protocol(protocol, cell=load_cell(CELL))
            self.refused = str(refused.value)
            self.runs_before = len(list_runs(chain.data))
            away.rename(folder)
            session.RE.subscribe(look)
            self.uid = session.run_protocol(protocol, cell=load_cell(CELL))
            self.collected, self.troubles = collect_late(chain.data, bench)
        self.run = Run.from_journal(self.uid, chain.data)
        self.numbers = metrics(self.run)
        self.truth = {
            box: {one["name"]: one for one in chain.truth(box, "file") if "lost" not in one}
            for box in BOXES
        }

    def of(self, box: str, name: str, *truth: str) -> Iterator[tuple[float, Any]]:
        """Yield a metric of each file with what is true of it, a number or those named."""
        attached = [
            (one["time"], one["attachment"]["source"]["name"])
            for one in self.run.attachments
            if one["attachment"]["instrument"] == box
        ]
        # Metrics go by when the files were begun, which is what they are numbered by.
        names = sorted(each for _, each in attached)
        values = self.numbers[name].value
        assert isinstance(values, list)
        assert len(values) == len(names)
        for each, value in zip(names, values, strict=True):
            told = self.truth[box][each]
            yield value, told[truth[0]] if len(truth) == 1 else tuple(told[key] for key in truth)


@pytest.fixture(scope="module", name="course")
def _course(
    make_chain: Callable[..., Any],
    plate_strip: Callable[..., Protocol],
    in_time: Callable[..., Any],
) -> Course:
    every = Schedule(reading_s=400.0)
    protocol = plate_strip(CELL, 2.0, 0.7, rest_s=30.0, until_v=0.9, every=every)

    def run_it() -> Course:
        chain = make_chain(CELL, factor=500.0, instruments=("potentiostat", "relay_board", *BOXES))
        return Course(chain, protocol)

    def often_enough(course: Course) -> None:
        assert course.written_meanwhile >= 1
        assert all(len(course.run.streams[box]) >= 6 for box in BOXES)

    found: Course = in_time(run_it, often_enough)
    return found


def test_every_box_was_started_and_what_it_wrote_is_attached(course: Course) -> None:
    assert course.troubles == []
    for box in BOXES:
        started = course.run.streams[box].columns[f"{box}_started"]
        assert (started == 1).all()
        assert len(started) >= 6
        names = {
            one["attachment"]["source"]["name"]
            for one in course.run.attachments
            if one["attachment"]["instrument"] == box
        }
        assert set(course.truth[box]) >= names
        assert len(names) >= 4


def test_texture_roughness_and_echo_are_those_of_the_deposit(course: Course) -> None:
    for name in ("002", "100", "101"):
        for value, true in course.of("xrd", f"rtc_{name}_pct", f"rtc_{name}_pct"):
            assert value == pytest.approx(true, abs=1.5)
    for name in ("sq_nm", "sa_nm"):
        for value, true in course.of("afm", f"afm_{name}", name):
            assert value == pytest.approx(true, rel=0.02)
    echoes = list(course.of("ultrasound", "ultrasound_tof_shift_ns", "echo_ns"))
    assert [value for value, _ in echoes] == pytest.approx(
        [true - echoes[0][1] for _, true in echoes], abs=0.1
    )
    sizes = list(course.of("ultrasound", "ultrasound_amplitude_pct", "amplitude_mv"))
    assert [value for value, _ in sizes] == pytest.approx(
        [100 * true / sizes[0][1] for _, true in sizes], rel=0.02
    )
    # The deposit was seen to come and to go, whose texture is not that of the foil.
    assert min(value for value, _ in echoes) < -2.0
    assert echoes[-1][0] > min(value for value, _ in echoes) + 1.0
    grown = [value for value, _ in course.of("ftir", "infrared_growth", "film_share")]
    assert grown[-1] is not None
    assert abs(course.numbers["infrared_growth_cm1"].value[-1] - 3500) < 60  # type: ignore[index]


def test_each_file_lies_on_the_leaders_clock_where_it_was_begun(course: Course) -> None:
    for box, name in zip(BOXES, ("infrared", "rtc", "afm", "ultrasound"), strict=True):
        when = list(course.of(box, f"{name}_t_s", "cell_t_s"))
        errors = course.numbers[f"{name}_t_s"].uncertainty
        assert isinstance(errors, list)
        told = [(t, true, u) for (t, true), u in zip(when, errors, strict=True) if t is not None]
        assert len(told) >= 3
        # The cell's time and the leader's differ by what passed before the program: seconds. Where
        # this computer stood still for a moment, one may lie hundreds of its seconds off.
        near = [abs(t - true) < 12**0.5 * (error or 0) + 15.0 for t, true, error in told]
        assert sum(near) >= max(3, len(near) - 1)
        assert np.all(np.diff([t for t, _, _ in told]) > 0)


def test_a_run_is_not_begun_without_the_folder_of_one_of_its_instruments(course: Course) -> None:
    assert course.runs_before == 0
    assert course.refused.startswith("afm: ")
    assert "cannot look into" in course.refused
    assert "is the instrument's folder there, and mounted?" in course.refused


def test_a_folder_that_was_away_is_told_and_what_was_in_it_is_there(course: Course) -> None:
    counted = course.run.streams["afm"].columns["afm_files"]
    assert np.isnan(counted).any()
    assert np.isfinite(counted[-1])
    assert course.run.stop["exit_status"] == "success"
    assert "afm: " in course.run.stop["reason"]
    assert "was gone at" in course.run.stop["reason"]
    assert "and back at" in course.run.stop["reason"]
    assert course.written_meanwhile >= 1
    for name in ("afm_sq_nm", "rtc_002_pct", "ultrasound_tof_shift_ns", "infrared_growth"):
        assert name in text_report(course.run, course.numbers)
