"""What no plan may exceed, and a cell whose file names the wrong electrode."""

from collections.abc import Callable
from typing import Any

import pytest

from instruments.errors import SafetyLimitError
from operando.configuration import load_bench, load_cell
from operando.journal import documents, journal_path, list_runs
from operando.runs import Run
from operando.session import RunFailedError
from techniques import Protocol, SafetyLimits

CELL, PRESET = "na-znag-half", "na-znag"
# Sodium plates at -6 mV here.
NARROW = SafetyLimits(potential_min_v=-0.004)
OWNERS = ("bench", "cell", "protocol")


def given_to(owner: str, limits: SafetyLimits, plate_strip: Callable[..., Protocol]) -> Any:
    """Return bench, cell and protocol, ``limits`` narrowing those of one of them."""
    bench = load_bench("sim").only({"potentiostat"})
    cell = load_cell(CELL)
    protocol = plate_strip(CELL, 0.5, 0.05, limits=limits if owner == "protocol" else None)
    if owner == "bench":
        bench = bench.model_copy(update={"limits": bench.limits.narrowed_by(limits)})
    elif owner == "cell":
        cell = cell.model_copy(update={"limits": cell.limits.narrowed_by(limits)})
    return bench, cell, protocol


@pytest.fixture(scope="module")
def chain(make_chain: Callable[..., Any]) -> Any:
    """Have one simulated cell for all tests here."""
    chain = make_chain(PRESET, factor=5000)
    with chain.simulated(leader_only=True):
        yield chain


@pytest.mark.parametrize("owner", OWNERS)
def test_the_narrowest_limit_ends_the_run_whoever_set_it(
    owner: str, chain: Any, plate_strip: Callable[..., Protocol]
) -> None:
    bench, cell, protocol = given_to(owner, NARROW, plate_strip)
    with chain.session(bench) as session, pytest.raises(RunFailedError) as caught:
        session.run_protocol(protocol, cell=cell)
    assert caught.value.exit_status == "fail"
    assert "potential_min_v = -0.004" in caught.value.reason
    run = Run.from_journal(caught.value.uid, chain.data)
    assert run.start["limits"]["effective"]["potential_min_v"] == -0.004
    others = [run.start["limits"][name]["potential_min_v"] for name in OWNERS if name != owner]
    assert -0.004 not in others
    assert len(run.streams["potentiostat"]) > 10  # what came before is kept
    assert chain.truth("potentiostat", "script_end")[-1]["cell_is_on"] is False


@pytest.mark.parametrize("owner", OWNERS)
def test_a_current_beyond_the_narrowest_limit_is_refused_with_the_cell_untouched(
    owner: str, chain: Any, plate_strip: Callable[..., Protocol]
) -> None:
    runs, closed = list_runs(chain.data), chain.truth("potentiostat", "cell_on")
    bench, cell, protocol = given_to(owner, SafetyLimits(current_max_a=1e-5), plate_strip)
    with (
        chain.session(bench) as session,
        pytest.raises(SafetyLimitError, match=r"plate step: .* the limit is 0.01 mA;"),
    ):
        session.run_protocol(protocol, cell=cell)
    assert list_runs(chain.data) == runs
    assert chain.truth("potentiostat", "cell_on") == closed


def test_a_charge_beyond_the_limit_is_refused_with_the_cell_untouched(
    chain: Any, plate_strip: Callable[..., Protocol]
) -> None:
    closed = chain.truth("potentiostat", "cell_on")
    limits = SafetyLimits(charge_max_mah_cm2=0.01)
    bench, cell, protocol = given_to("cell", limits, plate_strip)
    with (
        chain.session(bench) as session,
        pytest.raises(SafetyLimitError, match=r"plate step: .* the limit is 0.01 mAh/cm2"),
    ):
        session.run_protocol(protocol, cell=cell)
    assert chain.truth("potentiostat", "cell_on") == closed


def test_a_cell_file_that_names_the_wrong_electrode_ends_at_once_and_says_so(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    mirrored = load_cell(CELL).model_copy(update={"metal_electrode": "CE"})
    chain = make_chain(PRESET, factor=1000)
    with pytest.raises(RunFailedError, match="metal_electrode") as caught:
        chain.run(plate_strip(CELL, 0.5, 0.5), mirrored)
    assert "the safety limit potential_max_v" in caught.value.reason
    _, stop = list(documents(journal_path(chain.data, caught.value.uid)))[-1]
    assert stop["exit_status"] == "fail"
    assert stop["reason"] == caught.value.reason
    # The first check of the limits ended it: what passed is seconds of current, not a half-cycle.
    ledger = chain.truth("potentiostat", "cell_off")[-1]["ledger"]["WE"]
    assert ledger["charge_anodic"] < 0.001
