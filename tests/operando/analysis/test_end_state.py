"""How a run left its cell, by its rows, and what is said of handling it."""

from typing import Any

import numpy as np
import pytest

from operando.analysis.end_state import EndWatch, end_state
from operando.runs import Run, Stream
from techniques import OpenCircuit, Protocol
from techniques.default_rules import HARD_SHORT_ENDS

ZINC = {"material": "Zn", "area_cm2": 1.0, "metal": "Zn", "thickness_um": 100}
COPPER = {"material": "Cu", "area_cm2": 2.0}
SAMPLE: dict[str, Any] = {
    "cell_id": "one",
    "metal": "Zn",
    "working_electrode": COPPER,
    "counter_electrode": ZINC,
    "electrolyte": {"composition": "2 mol/L ZnSO4"},
}
OF_FOIL = 58.54
PLATE, REST, STRIP = -3.6e-3, 0.0, 3.6e-3


def rows(*halves: tuple[float, float], potential: float = -0.05) -> dict[str, Any]:
    """Return the columns of (current in A, hours), a row every 10 s."""
    columns: dict[str, list[float]] = {x: [] for x in ("t", "step_t", "step", "current")}
    begin_s = 0.0
    for step, (current, hours) in enumerate(halves, 1):
        since_s = np.arange(10.0, hours * 3600 + 1, 10.0)
        columns["t"] += (begin_s + since_s).tolist()
        columns["step_t"] += since_s.tolist()
        columns["step"] += [step] * len(since_s)
        columns["current"] += [current] * len(since_s)
        begin_s = columns["t"][-1]
    count = len(columns["t"])
    columns["potential"] = [potential] * count
    columns["flags"] = [0] * count
    return {f"potentiostat_{key}": values for key, values in columns.items()}


def told(
    page: dict[str, Any], start: dict[str, Any] | None = None, **sample: Any
) -> dict[str, Any]:
    watch = EndWatch({"sample": {**SAMPLE, **sample}, **(start or {})})
    watch.add("potentiostat", page)
    found = watch.told(cell_open=True)
    assert found is not None
    return found


def test_the_metal_left_is_what_was_there_and_what_passed_on_each_electrodes_own_area() -> None:
    state = told(rows((PLATE, 1.0), (REST, 0.1), (STRIP, 0.25)))
    assert state["metal_mah_cm2"]["WE"] == pytest.approx((3.6 - 0.9) / 2, rel=1e-3)
    assert state["metal_mah_cm2"]["CE"] == pytest.approx(OF_FOIL - 2.7, rel=1e-3)
    assert (state["driven_v"], state["driven_a"]) == (-0.05, STRIP)
    assert state["resistance_ohm"] == pytest.approx(0.05 / STRIP)
    assert state["open_circuit_v"] is None
    assert state["cell"] == "open"
    assert "1.35 mAh/cm2 of zinc at most on the working electrode" in state["handling"]


def test_what_passed_in_the_runs_before_counts_and_what_was_collected_not_twice() -> None:
    page = rows((PLATE, 1.0))
    before = {"resume": {"plated_mah_cm2": 1.0, "stripped_mah_cm2": 0.5}}
    assert told(page, before)["metal_mah_cm2"]["WE"] == pytest.approx(0.5 + 1.8, rel=1e-3)
    page["potentiostat_flags"] = [32] * len(page["potentiostat_t"])
    assert told(page, before)["metal_mah_cm2"]["WE"] == pytest.approx(0.5)
    assert told(page)["metal_mah_cm2"]["WE"] == pytest.approx(1.8, rel=1e-3)
    unknown = told(page, {"resume": {"plated_mah_cm2": None}})
    assert unknown["metal_mah_cm2"]["WE"] is None
    assert "runs before is not known" in unknown["why"]["WE"]


def test_shorted_is_what_a_rule_saw_and_without_one_it_is_not_known() -> None:
    judged = {"rules": [HARD_SHORT_ENDS.model_dump(mode="json")]}
    watch = EndWatch({"sample": SAMPLE, **judged})
    watch.add("potentiostat", rows((PLATE, 0.1), potential=-0.0036))
    watch.add("rules", {"rules_event": ["hard_short"]})
    state = watch.told(cell_open=True)
    assert state is not None
    assert state["shorted"] is True
    assert state["handling"].startswith("Shorted (1 ohm): do not charge again.")
    assert told(rows((PLATE, 0.1)), judged)["shorted"] is False
    silent = told(rows((PLATE, 0.1)), {**judged, "rules_not_judged": {HARD_SHORT_ENDS.name: "x"}})
    assert silent["shorted"] is None
    assert silent["why"]["shorted"] == "no rule judged it"


@pytest.mark.parametrize(("rules", "shorted"), [([HARD_SHORT_ENDS], False), ([], None)])
def test_whether_it_is_shorted_is_judged_by_the_rules_of_the_last_protocol(
    rules: list[Any], shorted: bool | None
) -> None:
    watch = EndWatch({"sample": SAMPLE, "rules": [HARD_SHORT_ENDS.model_dump(mode="json")]})
    technique = OpenCircuit(duration_s=1)
    other = Protocol(name="other", cell="c", technique=technique, rules=tuple(rules))
    asked = {"t": [5.0, 7.0], "request": ["amend", "amend"]}
    asked["protocol"] = [other.model_dump_json(), "{}"]  # the second one was not made
    watch.add("requests", {f"requests_{key}": value for key, value in asked.items()})
    assert left(watch)["shorted"] is False
    watch.add("programs", {"programs_t": [7.0], "programs_reason": ["amended by Ada"]})
    assert left(watch)["shorted"] is shorted


def test_the_pressure_is_the_sensors_else_the_worst_case_of_the_charge() -> None:
    closed = {"headspace": "closed", "headspace_ml": 5.0}
    page = rows((PLATE, 1.0))
    state = told(page, **closed)
    assert state["overpressure_kpa"] == pytest.approx(33.3, rel=1e-2)
    assert "Hydrogen at 0.33 bar above the atmosphere in the worst case" in state["handling"]
    watch = EndWatch({"sample": {**SAMPLE, **closed}})
    watch.add("potentiostat", page)
    watch.add("pressure", {"pressure_overpressure": [4e3, 8e3, float("nan")]})
    sensed = watch.told(cell_open=True)
    assert sensed is not None
    assert (sensed["overpressure_kpa"], sensed["overpressure_by"]) == (8.0, "pressure")
    assert told(page, headspace="open")["overpressure_kpa"] is None
    unsaid = told(page, headspace_ml=5.0)
    assert unsaid["overpressure_kpa"] == state["overpressure_kpa"]
    assert "ydrogen at" not in unsaid["handling"]  # nothing says that it is closed


def left(watch: EndWatch) -> dict[str, Any]:
    state = watch.told(cell_open=True)
    assert state is not None
    return state


def test_a_sensor_that_fell_silent_tells_nothing_of_the_end() -> None:
    closed = {"headspace": "closed", "headspace_ml": 5.0}
    start = {"sample": {**SAMPLE, **closed}, "every": {"reading_s": 20.0}}

    def after(last_s: float, pascals: float = 500.0) -> dict[str, Any]:
        watch = EndWatch(start)
        told = {"overpressure": [pascals, float("nan")], "t_after": [last_s, 3600.0]}
        watch.add("pressure", {f"pressure_{key}": x for key, x in told.items()})
        watch.add("potentiostat", rows((PLATE, 1.0)))
        return left(watch)

    assert after(3540.0)["overpressure_by"] == "pressure"
    assert after(float("nan"))["overpressure_kpa"] == 0.5  # no row came after it
    silent = after(3530.0)
    assert silent["overpressure_kpa"] == pytest.approx(33.3, rel=1e-2)
    assert "vent it under a hood" in silent["handling"]
    high = after(3000.0, 50e3)
    assert high["overpressure_kpa"] == 50.0
    assert high["overpressure_by"] == "pressure, silent for the last 600 s"
    assert "Hydrogen at 0.5 bar above the atmosphere: vent it" in high["handling"]


def test_what_was_oxidised_without_metal_takes_off_nothing_of_what_is_plated_later() -> None:
    sodium = {"metal": "Na", "counter_electrode": {**ZINC, "metal": "Na"}}
    state = told(rows((STRIP, 1.0), (PLATE, 1.0)), **sodium)
    assert state["metal_mah_cm2"]["WE"] == pytest.approx(1.8, rel=1e-3)
    assert "1.80 mAh/cm2 of sodium at most on the working electrode" in state["handling"]
    gone = told(rows((PLATE, 0.5), (STRIP, 1.0)), **sodium)
    assert gone["metal_mah_cm2"]["WE"] == 0
    assert "o sodium is left on the working electrode, sodium foil opposite" in gone["handling"]
    # On the foil opposite, what was plated beyond what it had came from nowhere.
    thin = {"counter_electrode": {**ZINC, "thickness_um": 1.0}}
    swapped = told(rows((PLATE, 1.0), (STRIP, 0.5)), **thin)
    assert swapped["metal_mah_cm2"]["CE"] == pytest.approx(1.8, rel=1e-3)
    before = {"resume": {"plated_mah_cm2": 0.5, "stripped_mah_cm2": 1.0}}
    unknown = told(rows((PLATE, 1.0)), before)
    assert unknown["metal_mah_cm2"]["WE"] is None
    assert "oxidised in the runs before" in unknown["why"]["WE"]


def test_foil_that_was_stripped_itself_is_not_opposite() -> None:
    foil = {**ZINC, "thickness_um": 1.0}
    one = {"working_electrode": foil, "counter_electrode": COPPER}
    state = told(rows((STRIP, 1.0)), **one)
    assert state["metal_mah_cm2"]["WE"] == 0
    assert "foil opposite" not in state["handling"]
    assert (
        "is left on the working electrode, 1.80 mAh/cm2 at most on the counter one"
        in (state["handling"])
    )
    both = told(rows((STRIP, 1.0)), working_electrode=foil)
    assert "is left on the working electrode, zinc foil opposite" in both["handling"]
    alone = told(rows((REST, 0.1)), counter_electrode={"material": "C", "area_cm2": 1})
    assert "o zinc is left on the working electrode." in alone["handling"]


def test_the_resistance_counts_from_the_metals_own_potential() -> None:
    three = {"reference_electrode": "Hg/Hg2SO4", "metal_vs_reference_v": -1.42}
    page = rows((PLATE, 0.1), potential=-1.456)
    assert told(page, **three)["resistance_ohm"] == pytest.approx(10.0)
    assert told(page, reference_electrode="Hg/Hg2SO4")["resistance_ohm"] is None
    full = {"counter_electrode": {**COPPER, "active_mass_mg": 5}}
    assert told(page, **full)["resistance_ohm"] is None


@pytest.mark.parametrize(
    ("sample", "opened", "said"),
    [
        ({}, False, "not confirmed: disconnect it by hand"),
        ({}, None, "Whether the cell is open is not known"),
        (
            {"metal": "Na", "counter_electrode": {**ZINC, "metal": "Na"}},
            True,
            "of sodium at most on the working electrode: open under inert gas, keep it from water",
        ),
        ({"dummy": "R 1000 ohm"}, True, "A dummy cell: it can be left as it is."),
        (
            {"counter_electrode": {**COPPER, "active_mass_mg": 5}},
            True,
            "Charged to 1.2 V: keep its leads apart",
        ),
    ],
)
def test_handling_is_told_in_sentences(
    sample: dict[str, Any], opened: bool | None, said: str
) -> None:
    watch = EndWatch({"sample": {**SAMPLE, **sample}})
    watch.add("potentiostat", rows((PLATE, 0.5), (REST, 0.1), potential=1.2))
    watch.add("bath", {"bath_temperature": [333.15], "bath_setpoint": [333.15]})
    state = watch.told(cell_open=opened)
    assert state is not None
    assert said in state["handling"]
    assert state["open_circuit_v"] == 1.2
    assert sample.get("dummy") or "At 333.1 K: let it come to room" in state["handling"]


def test_a_run_tells_what_its_stop_document_does_and_else_what_its_rows_do() -> None:
    columns = {key: np.asarray(x, float) for key, x in rows((PLATE, 1.0)).items()}
    streams = {"potentiostat": Stream("potentiostat", columns, {}, np.zeros(360), {}, {})}
    start = {"sample": SAMPLE}
    assert end_state(Run(start, None, streams)) is None
    killed = end_state(Run(start, {"exit_status": "fail"}, streams))
    assert killed is not None
    assert killed["cell"] == "not known"
    assert killed["metal_mah_cm2"]["WE"] == pytest.approx(1.8, rel=1e-3)
    guard = {"instruments": {"potentiostat": "cell open after 0.31 s", "raman": "laser off"}}
    guarded = end_state(Run(start, {"guard": {**guard, "not_safe": []}}, streams))
    assert guarded is not None
    assert (guarded["cell"], guarded["laser"]) == ("open", "off")
    unsafe = end_state(Run(start, {"guard": {**guard, "not_safe": ["potentiostat"]}}, streams))
    assert unsafe is not None
    assert unsafe["cell"] == "NOT confirmed open"
    recorded = EndWatch(start).told(cell_open=True, laser_off=True)
    assert recorded is not None
    assert recorded["metal_mah_cm2"]["WE"] is None
    # Its rows lie in a file: what the instruments confirmed is taken over, the rest counted anew.
    whole = end_state(Run(start, {"end_state": recorded}, streams))
    assert whole is not None
    assert (whole["cell"], whole["laser"]) == ("open", "off")
    assert whole["metal_mah_cm2"]["WE"] == pytest.approx(1.8, rel=1e-3)
    other = {**whole, "handling": "as it was told"}
    assert end_state(Run(start, {"end_state": other}, streams)) == other
    assert end_state(Run({}, {"exit_status": "fail"}, {})) is None
