"""The live table: what is printed for documents as they come, whoever sends them."""

import io
import math
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import pytest
from event_model import compose_run

from operando.analysis import metrics
from operando.live import Aside, CycleEfficiencies, LiveTable
from operando.runs import Run, RunBuilder

AREA_CM2 = 2.0
SAMPLE = {
    "cell_id": "ZN-CU-7",
    "metal": "Zn",
    "metal_electrode": "WE",
    "working_electrode": {"material": "Cu", "area_cm2": AREA_CM2},
    "counter_electrode": {"material": "Zn", "area_cm2": AREA_CM2, "metal": "Zn"},
    "electrolyte": {"composition": "2 mol/L ZnSO4 in water"},
}
COLUMNS = ("t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags", "step_t")
Document = tuple[str, dict[str, Any]]
Row = dict[str, float]


def rows(cycles: int, current_a: float = 2e-3, dt_s: float = 10.0) -> list[Row]:
    """Return rows of ``cycles`` cycles: 60 s rest, 600 s plating, 590 s stripping."""
    found: list[Row] = []
    t, step, half = 0.0, 0, 0
    for cycle in range(cycles + 1):
        parts = [(0, 60.0)] if cycle == 0 else [(-1, 600.0), (1, 590.0), (0, 60.0)]
        for role, duration_s in parts:
            step += 1
            half += role != 0
            for index in range(round(duration_s / dt_s) + 1):
                values = (
                    t + index * dt_s,
                    -0.03 if role < 0 else 0.03 * role,
                    role * current_a,
                    cycle,
                    half,
                    step,
                    role,
                    0,
                    index * dt_s,
                )
                found.append(dict(zip(COLUMNS, map(float, values), strict=True)))
            t += duration_s
    return found


def documents(
    given: list[Row], sample: Mapping[str, Any] = SAMPLE, page_of: int = 7, images: int = 0
) -> Iterator[Document]:
    """Yield the documents of a run of the potentiostat, rows in pages."""
    run = compose_run(metadata={"sample": dict(sample), "protocol": "three cycles"})
    yield "start", run.start_doc
    keys = {f"potentiostat_{name}": key() for name in COLUMNS}
    potentiostat = run.compose_descriptor(
        name="potentiostat", data_keys=keys, object_keys={"potentiostat": list(keys)}
    )
    yield "descriptor", potentiostat.descriptor_doc
    camera = run.compose_descriptor(
        name="camera", data_keys={"camera_phase": key()}, object_keys={"camera": ["camera_phase"]}
    )
    yield "descriptor", camera.descriptor_doc
    for number in range(images):
        event = camera.compose_event(
            data={"camera_phase": float(number)}, timestamps={"camera_phase": 0.0}
        )
        yield "event", event
    for first in range(0, len(given), page_of):
        page = given[first : first + page_of]
        data = {f"potentiostat_{name}": [row[name] for row in page] for name in COLUMNS}
        yield (
            "event_page",
            potentiostat.compose_event_page(
                data=data,
                timestamps={name: [0.0] * len(page) for name in data},
                seq_num=list(range(first + 1, first + len(page) + 1)),
                time=[0.0] * len(page),
                validate=False,
            ),
        )
    yield "stop", run.compose_stop()


def documents_of_columns(told: list[Document], folder: Path) -> Iterator[Document]:
    """Yield the same run with the rows in the columns of a growing file."""
    resources: dict[str, str] = {}
    written = 0
    with h5py.File(folder / "rows.h5", "w", libver="latest") as file:
        for name, doc in told:
            if name == "descriptor" and doc["name"] == "potentiostat":
                keys = {
                    name: {**key, "external": "STREAM:"} for name, key in doc["data_keys"].items()
                }
                yield name, {**doc, "data_keys": keys}
                for column in keys:
                    file.create_dataset(column, (0,), "f8", maxshape=(None,), chunks=(64,))
                    resources[column] = f"r-{column}"
                file.swmr_mode = True
                for column, uid in resources.items():
                    yield (
                        "stream_resource",
                        {
                            "uid": uid,
                            "data_key": column,
                            "mimetype": "application/x-hdf5",
                            "uri": f"file://localhost{folder.as_posix()}/rows.h5",
                            "parameters": {"dataset": column, "swmr": True},
                            "run_start": doc["run_start"],
                        },
                    )
            elif name == "event_page":
                first, written = written, written + len(doc["seq_num"])
                for column, values in doc["data"].items():
                    file[column].resize(written, axis=0)
                    file[column][first:] = values
                    file[column].flush()
                for uid in resources.values():
                    yield (
                        "stream_datum",
                        {
                            "uid": f"{uid}/{first}",
                            "stream_resource": uid,
                            "descriptor": doc["descriptor"],
                            "indices": {"start": first, "stop": written},
                            "seq_nums": {"start": first + 1, "stop": written + 1},
                        },
                    )
            else:
                yield name, doc


def key() -> dict[str, Any]:
    return {"source": "test", "dtype": "number", "shape": [], "units": ""}


def table(told: Iterator[Document] | list[Document]) -> list[str]:
    out = io.StringIO()
    show = LiveTable(out, lines_per_s=1e-9)
    for name, doc in told:
        show(name, doc)
    return out.getvalue().splitlines()


def test_a_change_of_the_protocol_is_told() -> None:
    run = compose_run(metadata={"sample": SAMPLE, "protocol": "slow"})
    keys = {"programs_reason": {"source": "plan", "dtype": "string", "shape": []}}
    programs = run.compose_descriptor(name="programs", data_keys=keys, object_keys={"programs": []})
    out = io.StringIO()
    table = LiveTable(out)
    table("start", run.start_doc)
    table("descriptor", programs.descriptor_doc)
    told = "amended by Ada to protocol 'fast' from half-cycle 7 on"
    for reason in ("what was left of the program", told):
        data = {"programs_reason": reason}
        table("event", programs.compose_event(data=data, timestamps={"programs_reason": 0.0}))
    assert out.getvalue().splitlines()[1:] == [told]


def test_the_first_line_says_what_runs_on_which_cell_and_which_sign_is_which() -> None:
    first = table(documents(rows(1)))[0]
    assert "three cycles" in first
    assert "ZN-CU-7 (Zn on WE, 2 cm2)" in first
    assert "E = E_WE - E_CE; j > 0 oxidises WE" in first
    against = table(documents(rows(1), {**SAMPLE, "reference_electrode": "Zn wire"}))[0]
    assert "E = E_WE against Zn wire; j > 0 oxidises WE" in against


def test_each_change_of_step_shows_the_last_row_before_and_the_first_after() -> None:
    lines = table(documents(rows(1)))
    steps = [line.split()[3] for line in lines if ":" in line.split()[0]]
    # 60 s rest, plating, stripping, rest: first and last row of each.
    assert steps == ["rest"] * 2 + ["plate"] * 2 + ["strip"] * 2 + ["rest"] * 2


def test_rows_in_the_columns_of_a_file_are_shown_like_rows_in_pages(tmp_path: Path) -> None:
    told = list(documents(rows(2)))
    assert table(documents_of_columns(told, tmp_path)) == table(told)


def test_density_is_per_area_and_charge_is_that_of_the_half_cycle() -> None:
    lines = [line.split() for line in table(documents(rows(1)))]
    last_of_plating = [line for line in lines if "plate" in line][-1]
    time, cycle, half, _, potential, density, charge, images = last_of_plating
    assert (time, cycle, half, potential) == ("0:11:00.0", "1", "1", "-0.03000")
    assert float(density) == -1.0
    assert float(charge) == pytest.approx(1.0 * 600 / 3600, abs=1e-5)
    assert images == "0"


def test_the_cycles_on_a_reservoir_are_shown_no_efficiency_of_their_own() -> None:
    half = {"current_density_ma_cm2": 1.0, "until": [{"quantity": "time_s", "value": 600}]}
    cycles = {"type": "plate_strip_cycle", "plate": half, "strip": half, "rest_s": 60.0}
    parts = [
        {"type": "block", "name": "conditioning", "in_means": False, "step": cycles},
        {"type": "block", "name": "reservoir", "in_means": False, "step": {**cycles, "cycles": 2}},
    ]
    told = list(documents(rows(3)))
    told[0][1]["technique"] = {"type": "sequence", "steps": parts}
    shown = [line.split()[1] for line in table(told) if "coulombic efficiency" in line]
    assert shown == ["1:"]


def test_the_efficiency_of_each_cycle_is_the_one_of_the_report() -> None:
    told = list(documents(rows(3)))
    shown = [line for line in table(told) if "coulombic efficiency" in line]
    reported = metrics(Run.from_documents(told))["ce_pct"].value
    assert isinstance(reported, list)
    assert len(reported) == 3
    assert shown == [
        f"    cycle {number}: coulombic efficiency {value:.3f} %"
        for number, value in enumerate(reported, 1)
    ]
    assert math.isclose(reported[0] or 0.0, 100 * 590 / 600)


@pytest.mark.parametrize("numbered", [True, False])
def test_efficiencies_of_a_growing_run_are_those_of_the_whole_one(numbered: bool) -> None:
    given = rows(6)
    if not numbered:
        given = [{**row, "cycle": 0.0} for row in given]
    told = list(documents(given, page_of=11))
    builder, growing = RunBuilder(), CycleEfficiencies("potentiostat", "potentiostat", SAMPLE)
    for name, doc in told:
        builder(name, doc)
        if name == "event_page":
            whole = CycleEfficiencies("potentiostat", "potentiostat", SAMPLE)
            assert growing.of(builder.run) == whole.of(builder.run)
    assert len(growing.of(builder.run)) == 6


def test_an_electrode_of_the_metal_itself_shows_no_efficiency() -> None:
    foil = {"material": "Zn", "area_cm2": AREA_CM2, "metal": "Zn"}
    platinum = {"material": "Pt", "area_cm2": AREA_CM2}
    sample = SAMPLE | {"working_electrode": foil, "counter_electrode": platinum}
    assert not any("efficiency" in line for line in table(documents(rows(2), sample=sample)))


def test_the_efficiency_is_shown_as_soon_as_the_cycle_is_over() -> None:
    lines = table(documents(rows(2)))
    told = next(i for i, line in enumerate(lines) if "cycle 1: coulombic" in line)
    assert "strip" in lines[told - 1]
    assert "rest" in lines[told + 1]


def test_charge_and_efficiency_count_the_time_before_the_first_row_as_the_report_does() -> None:
    given = rows(1)
    late = [row for row in given if row["role"] == 0 or row["step_t"] > 0]
    told = list(documents(late))
    lines = table(told)
    of_plating = [line.split() for line in lines if " plate " in line]
    assert float(of_plating[0][6]) == pytest.approx(1.0 * 10 / 3600, abs=1e-5)
    assert float(of_plating[-1][6]) == pytest.approx(1.0 * 600 / 3600, abs=1e-5)
    reported = metrics(Run.from_documents(told))["ce_pct"].value
    assert isinstance(reported, list)
    assert f"    cycle 1: coulombic efficiency {reported[0]:.3f} %" in lines


def test_a_symmetric_cell_shows_no_efficiency() -> None:
    zinc = {"material": "Zn", "area_cm2": AREA_CM2, "metal": "Zn"}
    lines = table(documents(rows(2), sample=SAMPLE | {"working_electrode": zinc}))
    assert not any("efficiency" in line for line in lines)


def test_a_run_that_was_cut_off_shows_no_efficiency_of_its_last_cycle() -> None:
    whole = list(documents([row for row in rows(2) if row["step"] <= 6]))
    name, stop = whole[-1]
    cut = [*whole[:-1], (name, {**stop, "exit_status": "abort", "reason": "stopped by SIGINT"})]
    assert sum("coulombic efficiency" in line for line in table(whole)) == 2
    lines = table(cut)
    assert sum("coulombic efficiency" in line for line in lines) == 1
    assert "ended: abort (stopped by SIGINT)" in lines[-1]


def test_a_cycle_that_an_earlier_run_began_has_no_efficiency_here() -> None:
    (name, start), *rest = documents(rows(3))
    lines = table([(name, {**start, "resume": {"cycle": 2}}), *rest])
    assert [line.split()[1] for line in lines if "coulombic efficiency" in line] == ["3:"]


def test_rows_and_images_are_counted() -> None:
    lines = table(documents(rows(1), images=5))
    heading = next(line for line in lines if "mA cm-2" in line)
    assert heading.endswith("images")
    assert lines[2].endswith("     5")
    assert f"{len(rows(1))} rows of potentiostat" in lines[-1]
    assert "5 images" in lines[-1]


def test_pages_of_any_size_and_single_events_show_the_same_rows() -> None:
    given = rows(2)

    def as_events(told: Iterator[Document]) -> Iterator[Document]:
        for name, doc in told:
            if name != "event_page":
                yield name, doc
                continue
            for index in range(len(doc["time"])):
                data = {column: values[index] for column, values in doc["data"].items()}
                stamps = dict.fromkeys(data, 0.0)
                yield (
                    "event",
                    {
                        "descriptor": doc["descriptor"],
                        "data": data,
                        "timestamps": stamps,
                        "time": 0.0,
                        "seq_num": doc["seq_num"][index],
                        "uid": doc["uid"][index],
                    },
                )

    small, large, single = (
        table(documents(given, page_of=1)),
        table(documents(given, page_of=1000)),
        table(as_events(documents(given))),
    )
    # Apart from the run's own identifier, told in the first and last line.
    assert small[1:-1] == large[1:-1] == single[1:-1]


def test_a_spectrum_is_told_when_it_is_over() -> None:
    given = rows(1)
    told = list(documents(given, page_of=len(given)))
    keys = {f"potentiostat_impedance_{name}": key() for name in ("spectrum", "frequency")}
    run_uid = told[0][1]["uid"]
    descriptor = {
        "uid": "impedance",
        "run_start": run_uid,
        "name": "impedance",
        "data_keys": keys,
        "object_keys": {"potentiostat_impedance": list(keys)},
        "time": 0.0,
        "configuration": {},
    }
    frequencies = [1e5, 1e3, 0.1]
    data = {
        "potentiostat_impedance_spectrum": [1.0] * 3,
        "potentiostat_impedance_frequency": frequencies,
    }
    page = {
        "descriptor": "impedance",
        "data": data,
        "timestamps": {name: [0.0] * 3 for name in data},
        "time": [0.0] * 3,
        "seq_num": [1, 2, 3],
        "uid": ["a", "b", "c"],
    }
    lines = table([*told[:-1], ("descriptor", descriptor), ("event_page", page), told[-1]])
    assert "    impedance spectrum 1: 3 points, 1e+05 Hz to 0.1 Hz" in lines


def test_what_is_wrong_with_rows_is_told_in_words_also_of_those_that_are_not_shown() -> None:
    given = rows(1)
    of_plating = [row for row in given if row["role"] == -1]
    for row in given:
        row["flags"] = 4.0 if row["role"] == 0 else 0.0  # an underload at rest
    of_plating[5]["flags"], of_plating[7]["flags"] = 2.0, 16.0
    lines = table(documents(given))
    worded = [line for line in lines if "OVERLOAD" in line or "rows lost before" in line]
    assert len(worded) == 1
    assert "0:11:00.0" in worded[0]
    assert worded[0].endswith("OVERLOAD, rows lost before")
    assert not any("0x" in line or "status" in line for line in lines)


def test_documents_of_other_plans_are_counted_and_nothing_more() -> None:
    run = compose_run()
    stream = run.compose_descriptor(name="primary", data_keys={"x": key()})
    told: list[Document] = [
        ("start", run.start_doc),
        ("descriptor", stream.descriptor_doc),
        ("event", stream.compose_event(data={"x": 1.0}, timestamps={"x": 0.0})),
        ("stop", run.compose_stop()),
    ]
    lines = table(told)
    assert len(lines) == 2
    assert "1 rows of primary" in lines[1]


def test_aside_passes_documents_on_in_order_from_another_thread() -> None:
    seen: list[str] = []
    threads: set[str] = set()

    def note(name: str, doc: Mapping[str, Any]) -> None:
        seen.append(name)
        threads.add(threading.current_thread().name)

    aside = Aside(note)
    told = list(documents(rows(1)))
    for name, doc in told:
        aside(name, doc)
    assert aside.flush()
    aside.close()
    aside.close()
    assert seen == [name for name, _ in told]
    assert threads == {"live"}


def test_what_only_shows_something_cannot_end_a_run(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    def broken(name: str, doc: Mapping[str, Any]) -> None:
        raise RuntimeError("the terminal is gone")

    aside = Aside(broken, lambda name, doc: seen.append(name))
    aside("start", {})
    aside("stop", {})
    assert aside.flush()
    aside.close()
    assert seen == ["start", "stop"]
    assert len(caplog.records) == 1
    assert "the terminal is gone" in caplog.text
