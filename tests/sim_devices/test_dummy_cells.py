import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_devices.cell import DUMMIES, DummyCell, DummyParameters

TWO = DUMMIES["dummy-2rc"]


def test_a_resistor_is_ohms_law_under_current_and_under_potential():
    cell = DummyCell(DummyParameters(250.0, area_cm2=2.0))
    assert cell.advance(10.0, "i", -0.5) == (10.0, pytest.approx(-0.25), -0.5)
    assert cell.advance(10.0, "E", 0.1) == (10.0, 0.1, pytest.approx(0.2))
    assert cell.potential() == (0.0, 0.0)
    ledger = cell.ledger("WE")
    assert ledger["charge_cathodic"] == pytest.approx(0.5 * 10 / 3600)
    assert ledger["charge_anodic"] == pytest.approx(0.2 * 10 / 3600)


def test_a_current_charges_the_capacitors_as_the_exponential_says():
    cell = DummyCell(DUMMIES["dummy-rc"])
    _, potential, _ = cell.advance(1e-3, "i", 1.0)
    assert potential == pytest.approx(1e-3 * (10 + 100 * (1 - np.exp(-1))))
    _, rest, _ = cell.advance(1e-3)
    assert rest == pytest.approx(1e-3 * 100 * (1 - np.exp(-1)) * np.exp(-1))


def test_a_potential_step_relaxes_with_the_network_s_own_time_constant():
    cell = DummyCell(DUMMIES["dummy-rc"])
    parallel_ohm = 10 * 100 / 110
    _, _, density = cell.advance(1e-4, "E", 0.11)
    at_rest, at_first = 1.0, 11.0  # mA
    expected = at_rest + (at_first - at_rest) * np.exp(-1e-4 / (parallel_ohm * 10e-6))
    assert density == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(
    drives=st.lists(
        st.tuples(st.sampled_from("iE"), st.floats(-2, 2), st.floats(1e-4, 5.0)),
        min_size=1,
        max_size=5,
    ),
    parts=st.integers(2, 9),
    series_ohm=st.floats(1.0, 100.0),
)
def test_the_answer_does_not_depend_on_the_steps(drives, parts, series_ohm):
    parameters = DummyParameters(series_ohm, TWO.members)
    whole, divided = DummyCell(parameters), DummyCell(parameters)
    for mode, value, dt_s in drives:
        at_once = whole.advance(dt_s, mode, value)
        for _ in range(parts):
            in_parts = divided.advance(dt_s / parts, mode, value)
        assert in_parts[1:] == pytest.approx(at_once[1:], abs=1e-9)
    assert divided.t == pytest.approx(whole.t)
    charges = [
        ledger["charge_anodic"] - ledger["charge_cathodic"]
        for ledger in (whole.ledger("WE"), divided.ledger("WE"))
    ]
    assert charges[0] == pytest.approx(charges[1], abs=1e-12)


def test_what_has_passed_is_on_the_capacitors_or_has_gone_through_their_resistors():
    """Every member carries the same charge; the resistor's part is integrated numerically."""
    cell = DummyCell(TWO)
    through = np.zeros(2)
    for mode, value in (("E", 1.0), ("i", -3.0), ("E", 0.0), ("i", 0.0)):
        for _ in range(2000):
            before = np.array(cell.summary()["capacitor_v"])
            cell.advance(1e-5, mode, value)
            after = np.array(cell.summary()["capacitor_v"])
            through += 0.5 * (before + after) * 1e-5 / [ohm for ohm, _ in TWO.members]
    stored = np.array(cell.summary()["capacitor_v"]) * [farad for _, farad in TWO.members]
    ledger = cell.ledger("WE")
    passed_c = 3.6 * (ledger["charge_anodic"] - ledger["charge_cathodic"])
    assert stored + through == pytest.approx([passed_c, passed_c], rel=2e-3)


def test_the_impedance_is_that_of_the_circuit_and_of_the_answer_in_time():
    cell = DummyCell(TWO)
    low, high = cell.impedance([1e-6, 1e9])
    assert low.real == pytest.approx(260.0)
    assert high.real == pytest.approx(10.0)
    frequency_hz, periods, points = 1.0, 15, 2000
    t = np.arange(periods * points) / points
    answer = []
    for one in t:  # a sine in steps, seen at the middle of each
        current = np.sin(2 * np.pi * (one + 0.5 / points))
        before = cell.potential("i", current)[0]
        after = cell.advance(1 / points, "i", current)[1]
        answer.append(0.5 * (before + after) * 1e3)
    last = slice(-5 * points, None)
    phase = np.exp(-2j * np.pi * (t[last] + 0.5 / points))
    measured = 2j * np.mean(np.array(answer)[last] * phase)
    assert measured == pytest.approx(cell.impedance([frequency_hz])[0], rel=3e-3)


@pytest.mark.parametrize("parts", [(0.0, ()), (1.0, ((1.0, 0.0),)), (-1.0, ())])
def test_parts_that_do_not_exist_are_refused(parts):
    with pytest.raises(ValueError, match="above 0"):
        DummyParameters(*parts)


def test_a_lead_that_comes_off_is_in_series_with_the_dummy():
    cell = DummyCell(DUMMIES["dummy-rc"])
    cell.inject("contact", ohm=5.0)
    assert cell.impedance([1e9])[0].real == pytest.approx(15.0)
    assert cell.advance(10.0, "E", 0.115)[2] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no fault 'soft-short'"):
        cell.inject("soft-short")
