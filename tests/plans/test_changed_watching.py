"""A change of the protocol does not change how a run is watched, and is refused where it would."""

from typing import Any

import pytest

from plans.changes import _told_protocol, refuse_other_watching
from techniques import Protocol, Schedule

NOW = Schedule(image_s=60.0, spectrum_s=None, reading_s=30.0)


def protocol(**more: Any) -> Protocol:
    technique = {"type": "open_circuit", "duration_s": 1}
    return Protocol.model_validate({"name": "other", "cell": "c", "technique": technique} | more)


def refuse(other: Protocol, *followers: str, **start: Any) -> None:
    refuse_other_watching(other, followers, NOW, start)


def test_what_is_not_said_of_the_followers_stays_as_it_is() -> None:
    refuse(protocol(), "image", "spectrum", "reading of ph")
    # Nor is it said once the protocol was on record, as a run that goes on reads it.
    told = Protocol.model_validate_json(_told_protocol(protocol()))
    refuse(told, "image", "spectrum", "reading of ph")
    assert told.every == Schedule()


@pytest.mark.parametrize(
    ("every", "followers", "why"),
    [
        ({"image_s": 10.0}, ["image"], "image_s 10 instead of 60"),
        ({"image_s": 60.0, "spectrum_s": 5.0}, ["spectrum"], "spectrum_s 5 instead of None"),
        ({"image_s": 60.0, "reading_s": 1.0}, ["reading of ph"], "reading_s 1 instead of 30"),
        ({"image_s": 60.0, "at_half_cycle_ends": False}, ["image"], "False instead of True"),
    ],
)
def test_another_schedule_of_a_follower_that_is_there_is_refused(
    every: dict[str, Any], followers: list[str], why: str
) -> None:
    with pytest.raises(ValueError, match=f"act otherwise .*{why}.*leave `every` out"):
        refuse(protocol(every=every), *followers)
    refuse(protocol(every=every))


def test_another_gas_check_and_several_temperatures_are_refused() -> None:
    blank = {"kind": "blank"}
    with pytest.raises(ValueError, match="gas_check is another"):
        refuse(protocol(gas_check=blank))
    with pytest.raises(ValueError, match="gas_check is another"):
        refuse(protocol(), gas_check={"kind": "leak_test", "mole_fractions": {}})
    refuse(protocol(gas_check=blank), gas_check={"kind": "blank", "mole_fractions": {}})
    with pytest.raises(ValueError, match="several temperatures"):
        refuse(protocol(), temperatures={"kelvin": [298.0, 308.0]})
