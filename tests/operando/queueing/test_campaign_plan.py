"""A campaign: which items it makes, what they come to, and what is refused, with file and line."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from operando.cli import REFUSED, main
from operando.configuration import (
    ConfigurationError,
    campaign_path,
    load_cell,
    load_protocol,
    load_stations,
    names,
)
from operando.queueing._campaign_table import plan_text
from operando.queueing._outlook import outlook
from operando.queueing.campaign import (
    CampaignPlan,
    CampaignRefusedError,
    add_campaign,
    plan_campaign,
    read_campaign,
)
from operando.queueing.errors import QueueError
from operando.queueing.model import Mount
from techniques import Cell, Protocol, StationsFile, longest_duration_s

NOW = 1_800_000_000.0
PLENTY = 1e15


def stations(*names: str, bench: str = "sim", **more: Any) -> StationsFile:
    entries = [{"name": name, "bench": bench} for name in names]
    return StationsFile.model_validate({"stations": entries, **more})


def planned(
    tmp_path: Path, told: dict[str, Any], where: StationsFile | None = None, **asked: Any
) -> CampaignPlan:
    path = tmp_path / "campaign.yaml"
    path.write_text(yaml.safe_dump({"campaign": "test", **told}, sort_keys=False))
    where = where or stations("A1", "A2")
    files = read_campaign(path, where)
    return plan_campaign(files, where, **{"now": NOW, "free_b": PLENTY, **asked})


SYMMETRIC: dict[str, Any] = {
    "protocol": "zinc-symmetric-1-1",
    "set": {"technique.total_h": 10},
}
ONE = {"samples": [{"cell": "zn-bare"}], "protocols": [SYMMETRIC]}


# -- which items


def test_samples_protocols_and_replicates_make_items_each_cell_its_own(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        {
            "samples": [{"cell": "zn-bare", "replicates": 2}, {"cell": "zn-znf2"}],
            "protocols": [{"protocol": "zinc-wetting"}, SYMMETRIC],
        },
    )
    assert plan.refusals == ()
    assert [(i.cell.cell_id, i.protocol.name, i.after) for i in plan.items] == [
        ("ZN-ZN-001-1", "zinc-wetting", None),
        ("ZN-ZN-001-1", "zinc-symmetric-1-1", 0),
        ("ZN-ZN-001-2", "zinc-wetting", None),
        ("ZN-ZN-001-2", "zinc-symmetric-1-1", 2),
        ("ZN-ZNF2-001", "zinc-wetting", None),
        ("ZN-ZNF2-001", "zinc-symmetric-1-1", 4),
    ]


def test_every_combination_of_what_is_varied_is_run_on_cells_of_its_own(tmp_path: Path) -> None:
    vary = {"technique.current_density_ma_cm2": [1, 2], "technique.capacity_mah_cm2": [0.5, 1]}
    plan = planned(
        tmp_path,
        {
            "samples": [{"cell": "zn-bare", "replicates": 2}],
            "protocols": [{**SYMMETRIC, "vary": vary}],
        },
    )
    found = [
        (i.cell.cell_id, *(getattr(i.protocol.technique, key.split(".")[1]) for key in vary))
        for i in plan.items
    ]
    assert found == [
        (f"ZN-ZN-001-{number + 1}", current, capacity)
        for number, (current, capacity) in enumerate(
            (c, q) for c in (1, 2) for q in (0.5, 1) for _ in range(2)
        )
    ]
    assert all(item.outlook.most_mah_cm2 in (0.5, 1.0) for item in plan.items)


def test_combinations_may_be_listed_one_by_one(tmp_path: Path) -> None:
    pairs = [
        {"technique.current_density_ma_cm2": 0.5, "technique.capacity_mah_cm2": 0.5},
        {"technique.current_density_ma_cm2": 5, "technique.capacity_mah_cm2": 1},
    ]
    plan = planned(tmp_path, ONE | {"protocols": [{**SYMMETRIC, "vary": pairs}]})
    assert plan.refusals == ()
    assert [dict(item.varied) for item in plan.items] == pairs


def test_a_sample_may_have_an_order_of_its_own_and_what_it_does_not_run_makes_no_cells(
    tmp_path: Path,
) -> None:
    vary = {"technique.capacity_mah_cm2": [0.5, 1, 2]}
    plan = planned(
        tmp_path,
        {
            "samples": [{"cell": "zn-bare", "then": ["look", "zinc-wetting"]}],
            "protocols": [
                {"protocol": "zinc-wetting"},
                {"protocol": "zinc-impedance", "name": "look"},
                {**SYMMETRIC, "vary": vary},
            ],
        },
    )
    assert [(i.cell.cell_id, i.protocol.name, i.after) for i in plan.items] == [
        ("ZN-ZN-001", "zinc-impedance", None),
        ("ZN-ZN-001", "zinc-wetting", 0),
    ]


def test_repeats_follow_each_other_on_the_same_cell(tmp_path: Path) -> None:
    plan = planned(tmp_path, ONE | {"protocols": [{**SYMMETRIC, "repeat": 3}]})
    assert [item.after for item in plan.items] == [None, 0, 1]
    assert plan.items[2].label.endswith("3 of 3")


def test_what_is_set_reaches_cell_and_protocol_and_the_files_stay_as_they_are(
    tmp_path: Path,
) -> None:
    plan = planned(
        tmp_path,
        {
            "samples": [{"cell": "zn-bare", "set": {"electrolyte.volume_ul": 55}}],
            "protocols": [{**SYMMETRIC, "set": {"every.image_s": None, "technique.cycles": 4,
                                                "technique.total_h": None}}],
        },
    )  # fmt: skip
    item = plan.items[0]
    assert item.cell.electrolyte.volume_ul == 55
    assert item.protocol.every.image_s is None
    assert item.outlook.half_cycles == 8
    assert item.count("images") == 0
    assert load_cell("zn-bare").electrolyte.volume_ul == 100


# -- where and when


def test_cells_go_where_there_is_room_first_and_follow_each_other_there(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        {
            "samples": [
                {"cell": "zn-bare", "then": ["long"]},
                {"cell": "zn-znf2", "replicates": 3, "then": ["short"]},
            ],
            "protocols": [
                {**SYMMETRIC, "name": "long"},
                {**SYMMETRIC, "name": "short", "set": {"technique.total_h": 2}},
            ],
        },
    )
    assert [(i.station, round((i.begins - NOW) / 3600, 6)) for i in plan.items] == [
        ("A1", 0.0),
        ("A2", 0.0),
        ("A2", 2.0),
        ("A2", 4.0),
    ]
    assert all(i.ends - i.begins == i.outlook.expected_s for i in plan.items)


def test_stations_are_taken_in_turn_where_a_sample_tells_several(tmp_path: Path) -> None:
    samples = [{"cell": "zn-bare", "replicates": 3, "station": ["A2", "A1"]}]
    plan = planned(tmp_path, ONE | {"samples": samples})
    assert [item.station for item in plan.items] == ["A2", "A1", "A2"]


def test_a_mounted_cell_stays_where_it_is(tmp_path: Path) -> None:
    mount = Mount(station="A2", cell_id="ZN-ZN-001", sample={}, by="me", at=NOW)
    plan = planned(tmp_path, ONE, mounts=[mount])
    assert [item.station for item in plan.items] == ["A2"]


def test_what_a_queue_holds_comes_before_and_another_station_is_taken_first(
    tmp_path: Path,
) -> None:
    samples = [{"cell": "zn-bare", "replicates": 3}]
    busy = {"A1": NOW + 15 * 3600}
    plan = planned(tmp_path, ONE | {"samples": samples}, busy_until=busy)
    assert [(item.station, (item.begins - NOW) / 3600) for item in plan.items] == [
        ("A2", pytest.approx(0)),
        ("A2", pytest.approx(10)),
        ("A1", pytest.approx(15)),
    ]


def test_a_campaign_may_begin_later_in_local_time(tmp_path: Path) -> None:
    plan = planned(tmp_path, ONE | {"at": "2027-03-01 22:00"})
    assert plan.begins == plan.items[0].begins > NOW
    from datetime import datetime

    assert datetime.fromtimestamp(plan.begins).isoformat(" ", "minutes") == "2027-03-01 22:00"


# -- what it comes to


@pytest.mark.parametrize("name", names("protocol"))
def test_what_is_expected_is_never_longer_than_what_can_be(name: str) -> None:
    protocol = load_protocol(name)
    cell = load_cell(protocol.cell)
    program = protocol.program(cell)
    look = outlook(program, cell)
    assert look.longest_s == longest_duration_s(program)
    assert 0 < look.expected_s <= look.longest_s * (1 + 1e-9)


def test_a_strip_takes_off_what_was_plated_and_a_full_cell_passes_its_nominal_capacity() -> None:
    # 500 cycles of 0.5 mAh/cm2 at 0.5 mA/cm2: two hours each, not the 5 % more of the overrun.
    protocol = load_protocol("sodium-coulombic-efficiency")
    cell = load_cell(protocol.cell)
    look = outlook(protocol.program(cell), cell)
    assert look.expected_s == pytest.approx(1000 * 3600)
    assert look.charge_mah_cm2 == pytest.approx(500)
    protocol = load_protocol("prussian-blue-cycling")
    cell = load_cell(protocol.cell)
    look = outlook(protocol.program(cell), cell)
    assert look.most_mah_cm2 == pytest.approx(cell.nominal_capacity_mah_cm2)
    assert look.charge_mah_cm2 == pytest.approx(300 * look.most_mah_cm2)


def test_a_loop_that_never_comes_to_rest_is_told_at_once() -> None:
    step = {"type": "galvanostatic_step", "role": "plate", "current_density_ma_cm2": 1,
            "until": [{"quantity": "time_s", "value": 3600}]}  # fmt: skip
    technique = {"type": "repeat", "times": 10**9, "step": step}
    protocol = Protocol.model_validate({"name": "p", "cell": "c", "technique": technique})
    cell = load_cell("zn-bare")
    look = outlook(protocol.program(cell), cell)
    assert look.charge_mah_cm2 == pytest.approx(1e9)
    assert look.half_cycles == 10**9


def test_the_charge_in_mah_is_that_of_the_electrode(tmp_path: Path) -> None:
    item = planned(tmp_path, ONE).items[0]
    assert item.charge_mah == pytest.approx(item.outlook.charge_mah_cm2 * 1.131)
    assert item.outlook.charge_mah_cm2 == pytest.approx(10)


def test_a_dry_run_of_32_channels_names_all_items_and_sums_them(tmp_path: Path) -> None:
    names = [f"S{number:02d}" for number in range(1, 33)]
    plan = planned(tmp_path, ONE | {"samples": [{"cell": "zn-bare", "replicates": 32}]},
                   stations(*names))  # fmt: skip
    text = plan_text(plan)
    assert text == repr(plan)
    assert {one.station for one in plan.stations} == set(names)
    assert text.count("zinc-symmetric-1-1") == 32
    total = next(line for line in text.splitlines() if line.startswith("all"))
    assert total.split()[1:3] == ["32", "32"]
    data = json.loads(json.dumps(plan.data()))
    assert sum(one["bytes"] for one in data["stations"]) == pytest.approx(data["bytes"])


# -- what is refused


def refused(tmp_path: Path, told: dict[str, Any], *words: str, **asked: Any) -> CampaignPlan:
    plan = planned(tmp_path, told, **asked)
    text = "\n".join(plan.refusals)
    for word in words:
        assert word in text
    with pytest.raises(CampaignRefusedError):
        add_campaign(plan, _Recorded())
    return plan


def line_of(tmp_path: Path, text: str) -> str:
    lines = (tmp_path / "campaign.yaml").read_text().splitlines()
    return f"line {next(n for n, line in enumerate(lines, 1) if text in line)}:"


def test_a_key_that_a_protocol_does_not_have_is_refused_with_its_line(tmp_path: Path) -> None:
    wrong = {"protocol": "zinc-symmetric-1-1", "set": {"technique.capacity_mah": 1}}
    plan = refused(tmp_path, ONE | {"protocols": [wrong]}, "did you mean 'capacity_mah_cm2'")
    assert line_of(tmp_path, "technique.capacity_mah") in plan.refusals[0]


def test_a_path_into_nothing_is_refused(tmp_path: Path) -> None:
    wrong = {"protocol": "zinc-operando", "set": {"technique.steps.7.duration_s": 1}}
    told = {"samples": [{"cell": "zn-bare-half"}], "protocols": [wrong]}
    refused(tmp_path, told, "technique.steps is a list of 2, counted from 0")


def test_limits_of_the_bench_are_told_before_anything_is_added(tmp_path: Path) -> None:
    wrong = {**SYMMETRIC, "vary": {"technique.current_density_ma_cm2": [1, 500]}}
    plan = refused(tmp_path, ONE | {"protocols": [wrong]}, "(technique.current_density_ma_cm2 500)",
                   "565.5 mA, the limit is")  # fmt: skip
    assert len(plan.refusals) == 1


def test_a_program_longer_than_the_bench_allows_is_refused(tmp_path: Path) -> None:
    wrong = {"protocol": "zinc-symmetric-1-1", "set": {"technique.total_h": 10_000}}
    refused(tmp_path, ONE | {"protocols": [wrong]}, "the program may last")


def test_missing_data_of_a_sample_are_refused(tmp_path: Path) -> None:
    tree = load_cell("zn-bare-half").model_dump(mode="json", exclude_unset=True)
    del tree["metal_electrode"]
    (tmp_path / "half.yaml").write_text(yaml.safe_dump(tree))
    del tree["working_electrode"]["area_cm2"]
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump(tree))
    told = ONE | {"samples": [{"cell": "half.yaml"}, {"cell": "bare.yaml"}]}
    refused(tmp_path, told, "does not say metal_electrode", "area_cm2: is missing")


def test_a_technique_that_the_cell_cannot_do_is_refused(tmp_path: Path) -> None:
    told = ONE | {"samples": [{"cell": "zn-bare-half"}]}
    refused(tmp_path, told, "symmetric_cycling cannot be run on cell 'ZN-CU-001'")


def test_every_reason_is_told_at_once(tmp_path: Path) -> None:
    plan = refused(
        tmp_path,
        {
            "at": "2020-01-01 08:00",
            "stations": ["A1", "Z9"],
            "samples": [
                {"cell": "zn-bare", "station": "A2"},
                {"cell": "zn-bar"},
                {"cell": "zn-znf2", "replicates": 2, "labels": ["one"]},
                {"cell": "zn-znf2", "then": ["nothing"]},
            ],
            "protocols": [SYMMETRIC, SYMMETRIC, {"protocol": "zinc-symetric"}],
        },
        "2020-01-01 08:00 is in the past",
        "no station 'Z9': there are A1, A2",
        "station A2 is none of those allowed: A1",
        "no cell 'zn-bar'",
        "1 labels for 2 cells",
        "no protocol of this campaign is called 'nothing'",
        "a second protocol is called 'zinc-symmetric-1-1'",
        "no protocol 'zinc-symetric'",
    )
    assert all(str(tmp_path / "campaign.yaml") in one for one in plan.refusals)


def test_a_cell_is_in_one_station_once(tmp_path: Path) -> None:
    samples = [{"cell": "zn-bare", "station": "A1"}, {"cell": "zn-bare", "station": "A2"}]
    refused(tmp_path, ONE | {"samples": samples}, "cell ZN-ZN-001 is there twice")


def test_a_cell_mounted_elsewhere_or_finished_is_refused(tmp_path: Path) -> None:
    mount = Mount(station="A2", cell_id="ZN-ZN-001", sample={}, by="me", at=NOW)
    here = ONE | {"samples": [{"cell": "zn-bare", "station": "A1"}]}
    refused(tmp_path, here, "is mounted in station A2, and is to run in A1", mounts=[mount])
    over = mount.model_copy(update={"state": "finished", "why_finished": "hard short"})
    refused(tmp_path, ONE, "is finished (hard short)", mounts=[over])


def test_too_little_disk_is_refused_with_what_must_stay_free(tmp_path: Path) -> None:
    plan = planned(tmp_path, ONE)
    keep = load_stations().retention.hold_below_gb * 1e9
    assert planned(tmp_path, ONE, free_b=plan.bytes + keep).refusals == ()
    refused(tmp_path, ONE, "too little disk", free_b=plan.bytes + keep - 1)


def test_stations_that_were_asked_for_must_be_there(tmp_path: Path) -> None:
    refused(tmp_path, ONE, "--stations: no station 'B1'", only=["B1"])
    assert planned(tmp_path, ONE, only=["A2"]).items[0].station == "A2"


def test_a_campaign_of_endless_items_is_refused(tmp_path: Path) -> None:
    samples = [{"cell": "zn-bare", "replicates": 1000}]
    protocols = [{**SYMMETRIC, "repeat": 11}]
    with pytest.raises(ConfigurationError, match="11000 items: at most 10000"):
        planned(tmp_path, {"samples": samples, "protocols": protocols})


def test_a_campaign_is_no_protocol_and_a_protocol_no_campaign(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "campaign" not in names("protocol")
    assert main(["run", "campaign"]) == REFUSED
    assert "is a campaign, which is made of protocols: operando queue" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="is a campaign"):
        load_protocol(campaign_path("campaign"))
    with pytest.raises(ConfigurationError, match="no campaign 'campain'"):
        campaign_path("campain")


# -- adding


class _Recorded:
    """A queue in memory that refuses from some item on."""

    def __init__(self, most: int = 1000) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.most, self.number = most, 0

    def add(self, protocol: Protocol, sample: Cell, **told: Any) -> list[str]:
        if self.number == self.most:
            raise QueueError("no more")
        self.number += 1
        self.items[str(self.number)] = told
        return [str(self.number)]

    def list(self) -> Sequence[Any]:
        return [SimpleNamespace(campaign=told["campaign"]) for told in self.items.values()]

    def history(self) -> Sequence[Any]:
        return []

    def release(self, item: str) -> None:
        self.items[item]["hold"] = False

    def remove(self, item: str, by: str | None = None) -> None:
        del self.items[item]


def test_items_are_added_in_order_with_their_links_and_let_go_when_all_are_there(
    tmp_path: Path,
) -> None:
    plan = planned(tmp_path, ONE | {"protocols": [{**SYMMETRIC, "repeat": 2}], "priority": 3})
    queue = _Recorded()
    ids = add_campaign(plan, queue, by="me")
    assert ids == ["1", "2"]
    first, second = queue.items.values()
    assert (first["after"], second["after"]) == (None, "1")
    assert (first["campaign"], first["priority"], first["hold"]) == (plan.tag, 3, False)
    assert first["station"] == "A1"


def test_if_one_item_cannot_be_added_none_is(tmp_path: Path) -> None:
    plan = planned(tmp_path, ONE | {"protocols": [{**SYMMETRIC, "repeat": 8}]})
    queue = _Recorded(most=6)
    with pytest.raises(QueueError) as refusal:
        add_campaign(plan, queue)
    assert queue.items == {}
    assert refusal.value.__notes__ == ["Item 7 of 8 could not be added; nothing was added."]


def test_the_same_campaign_is_known_again_and_another_of_that_name_too(tmp_path: Path) -> None:
    plan = planned(tmp_path, ONE)
    other = planned(tmp_path, ONE | {"samples": [{"cell": "zn-znf2"}]})
    later = planned(tmp_path, ONE, now=NOW + 1e6)
    assert later.tag == plan.tag != other.tag
    queue = _Recorded()
    add_campaign(plan, queue)
    with pytest.raises(CampaignRefusedError, match="before, with the same"):
        add_campaign(later, queue)
    with pytest.raises(CampaignRefusedError, match="before, with another content"):
        add_campaign(other, queue)
    add_campaign(other, queue, again=True)
    assert len(queue.items) == 2


# -- the command


def test_a_dry_run_from_the_shell_tells_all_and_needs_no_station(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path / "data"))
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({"campaign": "small", **ONE}))
    assert main(["queue", "campaign", str(path), "--dry-run", "--stations", "A2"]) == 0
    said = capsys.readouterr().out
    assert "A2  ZN-ZN-001" in said
    assert said.endswith("Nothing was added (--dry-run).\n")
    assert not (tmp_path / "data").exists()
    assert main(["queue", "campaign", str(path), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["half_cycles"] == 10


def test_what_cannot_work_ends_with_2_and_tells_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path / "data"))
    path = tmp_path / "wrong.yaml"
    path.write_text(
        yaml.safe_dump({"campaign": "wrong", **ONE, "samples": [{"cell": "zn-bare-half"}]})
    )
    assert main(["queue", "campaign", str(path), "--dry-run"]) == REFUSED
    assert f"{path}, line " in capsys.readouterr().err


def test_mistakes_in_the_campaign_hide_no_other_reason(tmp_path: Path) -> None:
    plan = refused(
        tmp_path,
        {
            "campaign": "two words",
            "priority": "high",
            "colour": "red",
            "stations": ["Z9"],
            "samples": [{"cell": "zn-bare", "replicates": 0}, {"cell": "zn-bar", "lables": ["a"]}],
            "protocols": [{"protocol": "zinc-wetting", "set": {"every.imge_s": 1}}],
        },
        "line 1, campaign: ",
        "line 2, priority: ",
        "line 3, colour: there is no such key",
        "samples[0].replicates: should be greater than or equal to 1",
        "samples[1].lables: there is no such key; did you mean 'labels'",
        "no station 'Z9': there are A1, A2",
        "no cell 'zn-bar'",
        "every.imge_s: there is no such key; did you mean 'image_s'",
    )
    assert plan.items == ()
    for entry in ({"replicates": 2}, "zn-bare"):
        with pytest.raises(ConfigurationError, match=r"samples\[0\]"):
            planned(tmp_path, ONE | {"samples": [entry]})
