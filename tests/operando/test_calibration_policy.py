"""What a run tells of calibrations that are too old or missing, and when none begins."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky import RunEngine
from bluesky.utils import MsgGenerator

from instruments.bench_file import BenchFile
from instruments.calibration import CalibrationRefusedError
from operando.report import text_report
from operando.runs import Run
from operando.session._engine import with_calibrations

Documents = list[tuple[str, Mapping[str, Any]]]
RunOn = Callable[..., Documents]


@pytest.fixture
def run_on() -> Iterator[RunOn]:
    engines: list[RunEngine] = []

    def run(file: BenchFile, ended: list[str] | None = None, **md: Any) -> Documents:
        engine = RunEngine(
            {}, context_managers=[], preprocessors=[partial(with_calibrations, file)]
        )
        engines.append(engine)
        documents: Documents = []

        def tidy_up() -> MsgGenerator:
            yield from bps.null()
            if ended is not None:
                ended.append("tidied up")

        def plan() -> MsgGenerator:
            yield from bps.open_run(md)
            yield from bps.close_run()

        engine(
            bpp.finalize_wrapper(plan(), tidy_up), lambda name, doc: documents.append((name, doc))
        )
        return documents

    yield run
    for engine in engines:
        engine.loop.call_soon_threadsafe(engine.loop.stop)
        engine._th.join(5)
        engine.loop.close()


def bench(**policy: str) -> BenchFile:
    offset = {"of": "temperature_offset", "at": 298.15, "value": 0.1, "unit": "K"}
    found = {"date": "2020-01-01", "by": "us", "valid_days": 365, "values": [offset]}
    instruments = {
        "potentiostat": {
            "kind": "potentiostat",
            "language": "methodscript",
            "address": "tcp://a:1",
        },
        "thermostat": {
            "kind": "thermostat",
            "language": "huber_pb",
            "address": "tcp://b:1",
            "calibrations": [found],
        },
    }
    told = {"name": "one", "instruments": instruments, "calibrations": policy}
    return BenchFile.model_validate(told)


def test_a_run_tells_them_in_its_start_document_and_its_report(run_on: RunOn) -> None:
    run = Run.from_documents(run_on(bench()))
    flags = {(one["instrument"], one["flag"]) for one in run.start["calibration_flags"]}
    assert flags == {("potentiostat", "missing"), ("thermostat", "expired")}
    report = text_report(run)
    assert "EXPIRED: thermostat: the calibration of temperature offset at 298.15" in report
    assert "Without a dated calibration: potentiostat (current gain)" in report


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({"expired": "refuse"}, "to be renewed by 2020-12-31"),
        ({"missing": "refuse"}, "current gain"),
    ],
)
def test_where_the_bench_file_says_so_no_run_begins_and_the_plan_ends_properly(
    run_on: RunOn, policy: dict[str, str], why: str
) -> None:
    ended: list[str] = []
    with pytest.raises(CalibrationRefusedError, match=why):
        run_on(bench(**policy), ended)
    assert ended == ["tidied up"]


@pytest.mark.parametrize(
    "md",
    [
        {"gas_check": {"kind": "blank"}},
        {"sample": {"cell_id": "d", "dummy": "R 100 ohm"}},
        {"resume": {"of": "7d1f0a52"}},
    ],
)
def test_what_renews_calibrations_and_what_goes_on_is_not_refused(
    run_on: RunOn, md: dict[str, Any]
) -> None:
    documents = run_on(bench(expired="refuse", missing="refuse"), **md)
    assert [name for name, _ in documents] == ["start", "stop"]
    assert len(documents[0][1]["calibration_flags"]) == 2
