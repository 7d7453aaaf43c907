"""Battery Data Format: the sign for every cable and kind of cell, counts, charges, the sidecar."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando.analysis import METRICS, metrics
from operando.export import ExportError, emmo, export_bdf, orientation
from operando.export.bdf import COLUMNS, bdf_name
from operando.runs import Run
from techniques import Cell

AREA_CM2 = 1.131
ZINC = {"material": "Zn", "area_cm2": AREA_CM2, "metal": "Zn"}
COPPER = {"material": "Cu", "area_cm2": AREA_CM2}
CATHODE = {"material": "MnO2", "area_cm2": AREA_CM2}


def cell(working: Mapping[str, Any], counter: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "cell_id": "C-1",
        "metal": "Zn",
        "working_electrode": dict(working),
        "counter_electrode": dict(counter),
        "electrolyte": {"composition": "2 mol/L ZnSO4", "volume_ul": 100},
        **more,
    }


HALF, HALF_MIRRORED = cell(COPPER, ZINC), cell(ZINC, COPPER, metal_electrode="CE")
SYMMETRIC = cell(ZINC, ZINC)
FULL, FULL_MIRRORED = cell(ZINC, CATHODE), cell(CATHODE, ZINC, metal_electrode="CE")
THREE_ELECTRODES = cell(COPPER, ZINC, reference_electrode="Zn wire")


@pytest.fixture
def made(make_run: Callable[..., Any], synthetic: Any) -> Callable[..., Run]:
    """Return what makes a run of three cycles, on either cable, with a spectrum if asked."""

    def make(sample: Any = HALF, *, spectrum: bool = False, stop: bool = True) -> Run:
        documents = make_run(sample)
        mirror = -1 if isinstance(sample, dict) and sample.get("metal_electrode") == "CE" else 1
        columns = synthetic.galvanostatic(mirror=mirror)
        documents.stream("potentiostat", "potentiostat", columns)
        if spectrum:
            frequency = np.logspace(5, 0, 11)
            z = synthetic.arcs_ohm(frequency, 3.0, (150.0, 1e-3, 0.9))
            # In the first rest, which lasts a minute.
            t = columns["t"][columns["role"] == 0][0] + np.arange(11) * 0.1
            documents.stream(
                "impedance",
                "potentiostat_impedance",
                {
                    "t": t,
                    "spectrum": np.ones(11),
                    "cycle": np.ones(11),
                    "half_cycle": np.ones(11),
                    "step": np.full(11, 2.0),
                    "frequency": frequency,
                    "z_real": z.real,
                    "z_imag": z.imag,
                    "flags": np.zeros(11),
                },
            )
        if stop:
            documents.stop()
        return Run.from_documents(documents.documents)

    return make


def table(path: Path) -> dict[str, Any]:
    """Read a table back: numbers with empty fields as NaN, text as text."""
    read = (
        pyarrow.parquet.read_table(path)
        if path.suffix == ".parquet"
        else pyarrow.csv.read_csv(path)
    )
    return {
        name: np.array(column.to_pylist())
        if column.type == pyarrow.string()
        else column.cast(pyarrow.float64()).to_numpy()
        for name, column in zip(read.column_names, read.columns, strict=True)
    }


def recorded(run: Run, name: str) -> Any:
    return run.streams["potentiostat"].columns[f"potentiostat_{name}"]


@pytest.mark.parametrize(
    ("sample", "sign", "charging"),
    [
        pytest.param(HALF, 1, "stripping", id="half cell on the working electrode"),
        pytest.param(HALF_MIRRORED, -1, "stripping", id="half cell on the counter electrode"),
        pytest.param(SYMMETRIC, 1, "stripping", id="symmetric cell"),
        pytest.param(FULL, -1, "plating", id="full cell, metal on the working electrode"),
        pytest.param(FULL_MIRRORED, 1, "plating", id="full cell, metal on the counter electrode"),
        pytest.param(THREE_ELECTRODES, 1, "stripping", id="three electrodes"),
    ],
)
def test_positive_current_charges_the_test_object_whichever_cable_it_hangs_on(
    sample: dict[str, Any], sign: int, charging: str, made: Callable[..., Run], tmp_path: Path
) -> None:
    run = made(sample)
    path, sidecar = export_bdf(run, tmp_path / "out")
    read = table(path)
    np.testing.assert_array_equal(read["Current / A"], sign * recorded(run, "current"))
    np.testing.assert_array_equal(read["Voltage / V"], sign * recorded(run, "potential"))
    # Turned round together: what the cell takes up in a second does not depend on the cables.
    np.testing.assert_array_equal(
        read["Voltage / V"] * read["Current / A"],
        recorded(run, "potential") * recorded(run, "current"),
    )
    role = {"stripping": 1, "plating": -1}[charging]
    assert np.all(read["Current / A"][read["Role / 1"] == role] > 0)
    assert np.all(read["Current / A"][read["Role / 1"] == -role] < 0)
    # What is told of the metal electrode is the same for all: positive strips.
    assert np.all(read["Metal Electrode Current Density / mA.cm-2"][read["Role / 1"] == 1] > 0)
    told = {
        one["schema:name"]: one
        for one in json.loads(sidecar.read_text())["schema:additionalProperty"]
    }
    assert (told["current_sign"]["schema:value"], told["charging_is"]["schema:value"]) == (
        sign,
        charging,
    )
    lies = orientation(Cell.model_validate(sample))
    assert (lies.sign, lies.charging) == (sign, charging)


def test_a_rest_is_no_negative_zero(made: Callable[..., Run], tmp_path: Path) -> None:
    path, _ = export_bdf(made(HALF_MIRRORED), tmp_path)
    current = table(path)["Current / A"]
    assert not np.any(np.signbit(current[current == 0]))


def test_mirrored_cells_give_the_same_table(made: Callable[..., Run], tmp_path: Path) -> None:
    one, _ = export_bdf(made(HALF), tmp_path / "we")
    other, _ = export_bdf(made(HALF_MIRRORED), tmp_path / "ce")
    assert one.read_bytes() == other.read_bytes()


def test_capacities_are_those_of_the_metrics(made: Callable[..., Run], tmp_path: Path) -> None:
    run = made(HALF)
    read = table(export_bdf(run, tmp_path)[0])
    numbers = metrics(run)
    plated = sum(numbers["plated_capacity_mah_cm2"].value) * AREA_CM2 * 1e-3
    charged, discharged = read["Charging Capacity / Ah"], read["Discharging Capacity / Ah"]
    assert discharged[-1] == pytest.approx(plated, rel=1e-12)
    ratio = numbers["ce_ratio_of_sums_pct"].value
    assert 100 * charged[-1] / discharged[-1] == pytest.approx(ratio, rel=1e-12)
    assert np.all(np.diff(charged) >= 0)
    assert np.all(np.diff(discharged) >= 0)
    np.testing.assert_array_equal(read["Net Capacity / Ah"], charged - discharged)
    areal = read["Half-Cycle Areal Charge / mAh.cm-2"]
    for number, expected in enumerate(numbers["plated_capacity_mah_cm2"].value, 1):
        plating = (read["Cycle Count / 1"] == number) & (read["Role / 1"] == -1)
        assert np.max(areal[plating]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("role", [3, 4, 5, 6])
def test_steps_without_a_role_are_charged_too(
    run_of: Callable[..., Run], tmp_path: Path, role: int
) -> None:
    names = ("t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")
    rows = 11
    values = dict.fromkeys(names, np.zeros(rows))
    values |= {
        "t": np.arange(rows) * 360.0,
        "current": np.full(rows, 1e-3),
        "step": np.ones(rows),
        "role": np.full(rows, float(role)),
    }
    run = run_of({f"potentiostat_{name}": one for name, one in values.items()}, sample=HALF)
    read = table(export_bdf(run, tmp_path, table="parquet")[0])
    assert read["Charging Capacity / Ah"][-1] == pytest.approx(1e-3)
    assert read["Discharging Capacity / Ah"][-1] == 0
    assert set(read["Step Type"]) == {""}


def test_a_part_at_a_set_potential_is_called_so(run_of: Callable[..., Run], tmp_path: Path) -> None:
    names = ("t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")
    values = dict.fromkeys(names, np.ones(9)) | {
        "t": np.arange(9) * 60.0,
        "potential": np.array([0.1, 0.15, 0.2, 0.2, 0.2, 0.2, -0.1, -0.1, -0.1]),
        "current": np.array([1, 1, 1, 0.9, 0.5, 0.2, -1, -0.5, -0.2]) * 1e-3,
        "half_cycle": np.array([1.0] * 6 + [2.0] * 3),
        "step": np.array([1.0] * 3 + [2.0] * 3 + [3.0] * 3),
        "role": np.array([1.0] * 6 + [-1.0] * 3),
    }
    run = run_of({f"potentiostat_{name}": one for name, one in values.items()}, sample=HALF)
    read = table(export_bdf(run, tmp_path, table="parquet")[0])
    assert list(read["Step Type"]) == ["CC_CHG"] * 3 + ["CV_CHG"] * 3 + ["CV_DCH"] * 3


def test_counts_are_the_programs_own_and_rows_the_recorded_ones(
    made: Callable[..., Run], tmp_path: Path
) -> None:
    run = made()
    read = table(export_bdf(run, tmp_path)[0])
    for label, name in (
        ("Test Time / s", "t"),
        ("Cycle Count / 1", "cycle"),
        ("Step Count / 1", "step"),
        ("Half-Cycle Count / 1", "half_cycle"),
    ):
        np.testing.assert_array_equal(read[label], recorded(run, name))
    assert np.all(np.diff(read["Step Count / 1"]) >= 0)
    types = dict(zip(read["Role / 1"], read["Step Type"], strict=True))
    assert types == {-1.0: "CC_DCH", 1.0: "CC_CHG", 0.0: "REST"}


def test_spectra_are_rows_in_their_place_with_a_negative_imaginary_part(
    made: Callable[..., Run], tmp_path: Path
) -> None:
    run = made(spectrum=True)
    read = table(export_bdf(run, tmp_path)[0])
    assert np.all(np.diff(read["Test Time / s"]) >= 0)
    spectral = read["Step Type"] == "EIS"
    assert spectral.sum() == 11
    columns = run.streams["impedance"].columns
    for label, name in (
        ("Frequency / Hz", "frequency"),
        ("Real Impedance / ohm", "z_real"),
        ("Imaginary Impedance / ohm", "z_imag"),
    ):
        np.testing.assert_array_equal(
            read[label][spectral], columns[f"potentiostat_impedance_{name}"]
        )
        assert np.all(np.isnan(read[label][~spectral]))
    assert np.all(read["Imaginary Impedance / ohm"][spectral] < 0)
    assert np.all(np.isnan(read["Current / A"][spectral]))
    # Charge passed so far does not depend on rows in between.
    assert not np.isnan(read["Charging Capacity / Ah"][~spectral]).any()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_formats_own_validator_accepts_the_table(
    kind: Any,
    made: Callable[..., Run],
    validated: Callable[[str, Path], dict[str, Any]],
    tmp_path: Path,
) -> None:
    run = made(spectrum=True)
    path, _ = export_bdf(run, tmp_path / "out", table=kind, institution="UCam")
    said = validated("bdf", path)
    assert said["ok"]
    assert said["missing"] == said["renamed"] == []
    assert said["monotone"]
    assert said["rows"] == len(run.streams["potentiostat"]) + 11
    # Its published version does not know the newer terms yet; what is ours it passes over.
    newer = {"Step Time / s", "Step Type"} | {
        label for label in COLUMNS if "Impedance" in label or "Frequency" in label
    }
    assert set(said["own"]) == {
        label for label, column in COLUMNS.items() if column.own or label in newer
    } - {"Step Time / s"}
    assert float(said["last"]["Test Time / s"]) == recorded(run, "t")[-1]


def test_the_validator_would_have_told(
    made: Callable[..., Run], validated: Callable[[str, Path], dict[str, Any]], tmp_path: Path
) -> None:
    path, _ = export_bdf(made(), tmp_path / "out")
    lines = path.read_text().splitlines()
    broken = tmp_path / "broken.bdf.csv"
    broken.write_text(
        "\n".join([lines[0].replace("Test Time / s", "Duration / d"), *lines[1:]]) + "\n"
    )
    assert not validated("bdf", broken)["ok"]


def test_every_term_of_the_sidecar_has_an_identifier(
    made: Callable[..., Run], validated: Callable[[str, Path], dict[str, Any]], tmp_path: Path
) -> None:
    run = made(spectrum=True)
    path, sidecar = export_bdf(run, tmp_path / "out")
    triples = validated("jsonld", sidecar)["triples"]
    a = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
    types: dict[str, set[str]] = {}
    values: dict[tuple[str, str], set[str]] = {}
    for subject, predicate, value in triples:
        assert re.match(r"https?://", predicate), predicate
        if predicate == a:
            types.setdefault(subject, set()).add(value)
        values.setdefault((subject, predicate), set()).add(value)

    def of(name: str) -> set[str]:
        return {one for one, kinds in types.items() if emmo.iri(emmo.CLASSES[name]) in kinds}

    (root,) = (one for one in types if one == f"urn:uuid:{run.uid}")
    assert types[root] == {"https://schema.org/Dataset"}
    (tested,) = of("ElectrochemicalCell")
    (we,) = of("WorkingElectrode")
    assert we in of("PositiveElectrode")
    assert of("CounterElectrode") == of("NegativeElectrode")
    assert values[tested, emmo.iri(emmo.PROPERTIES["hasWorkingElectrode"])] == {we}
    areas = {
        values[number, emmo.iri(emmo.NUMERICAL_VALUE)].pop()
        for area in of("ElectrodeGeometricSurfaceArea")
        for number in values[area, emmo.iri(emmo.PROPERTIES["hasNumericalPart"])]
    }
    assert areas == {str(AREA_CM2)}
    name = "https://schema.org/name"
    efficiencies = {next(iter(values[one, name])) for one in of("CoulombicEfficiency")}
    defined = {key for key, one in metrics(run).items() if one.value is not None}
    assert efficiencies == {
        key for key in defined if emmo.METRICS.get(key) == "CoulombicEfficiency"
    }
    # Each metric with its unit, its definition's source, and its places kept.
    (ce,) = (one for one, told in values.items() if told == {"ce_pct"} and one[1] == name)
    assert values[ce[0], "https://schema.org/citation"] == {METRICS["ce_pct"].source}
    (numbers,) = values[ce[0], "https://schema.org/value"]
    assert json.loads(numbers) == metrics(run)["ce_pct"].value
    # The columns point at the terms of the format.
    columns = {
        value.rpartition("#")[2]
        for (_, predicate), told in values.items()
        if predicate == "https://schema.org/propertyID"
        for value in told
    }
    header = path.read_text().split("\n", 1)[0].split(",")
    assert columns == {COLUMNS[label].notation for label in header if not COLUMNS[label].own}


def test_every_metric_that_has_a_term_is_one_of_the_registry() -> None:
    assert set(emmo.METRICS) <= set(METRICS)
    assert set(emmo.METRICS.values()) <= set(emmo.CLASSES)
    assert {term for terms in emmo.TECHNIQUES.values() for term in terms} <= set(emmo.CLASSES)


def test_the_computers_time_is_left_out_where_its_clock_and_the_instruments_disagree(
    run_of: Callable[..., Run], made: Callable[..., Run], tmp_path: Path
) -> None:
    columns = made().streams["potentiostat"].columns
    t = columns["potentiostat_t"]
    fits = export_bdf(run_of(columns, time=1.7e9 + t, sample=HALF), tmp_path / "a")[0]
    np.testing.assert_array_equal(table(fits)["Unix Time / s"], 1.7e9 + t)
    faster, told = export_bdf(run_of(columns, time=1.7e9 + t / 100, sample=HALF), tmp_path / "b")
    assert "Unix Time / s" not in table(faster)
    assert "100 s of the instrument" in json.loads(told.read_text())["schema:description"]


def test_rows_without_a_time_are_left_out_and_counted(
    run_of: Callable[..., Run], made: Callable[..., Run], tmp_path: Path
) -> None:
    columns = {key: one.copy() for key, one in made().streams["potentiostat"].columns.items()}
    columns["potentiostat_t"][7] = np.nan
    path, sidecar = export_bdf(run_of(columns, sample=HALF), tmp_path)
    read = table(path)
    assert len(read["Test Time / s"]) == len(columns["potentiostat_t"]) - 1
    assert np.all(np.isfinite(read["Test Time / s"]))
    told = {
        one["schema:name"]: one
        for one in json.loads(sidecar.read_text())["schema:additionalProperty"]
    }
    assert told["rows_without_time"]["schema:value"] == 1


def test_a_growing_run_is_marked_as_incomplete(made: Callable[..., Run], tmp_path: Path) -> None:
    _, sidecar = export_bdf(made(stop=False), tmp_path)
    told = json.loads(sidecar.read_text())
    assert told["schema:creativeWorkStatus"] == "incomplete"
    assert "INCOMPLETE" in told["schema:description"]


def test_a_run_of_no_cell_has_no_capacities(made: Callable[..., Run], tmp_path: Path) -> None:
    run = made("blank")
    path, sidecar = export_bdf(run, tmp_path)
    assert not any("Capacity" in label or "cm-2" in label for label in table(path))
    assert "describes no cell" in json.loads(sidecar.read_text())["schema:description"]


def test_a_run_without_a_potentiostat_is_refused_with_what_to_do(
    run_of: Callable[..., Run], tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=r"no rows of a potentiostat.*--to parquet"):
        export_bdf(run_of({"x": [1.0]}, stream="primary"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@given(st.text(), st.text())
def test_every_name_of_a_cell_gives_a_file_name_of_the_convention(label: str, code: str) -> None:
    run = Run(start={"uid": "u", "time": 1.7e9, "sample": label}, stop=None, streams={})
    name = bdf_name(run, code, 7)
    assert re.fullmatch(r"[A-Za-z0-9.-]+__[A-Za-z0-9.-]+__20231114_007", name), name


def test_the_name_is_institution_cell_day_and_number(
    made: Callable[..., Run], tmp_path: Path
) -> None:
    path, sidecar = export_bdf(made(), tmp_path, institution="UCam", number=2)
    assert path.name == "UCam__C-1__20231114_002.bdf.csv"
    assert sidecar.name == "UCam__C-1__20231114_002.bdf.metadata.jsonld"


def test_a_file_of_another_ending_is_refused(made: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"\.bdf\.csv"):
        export_bdf(made(), tmp_path / "a.csv")
    with pytest.raises(ExportError, match="ends in csv"):
        export_bdf(made(), tmp_path / "a.bdf.csv", table="parquet")
