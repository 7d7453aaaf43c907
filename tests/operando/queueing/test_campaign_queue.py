"""A campaign on a real queue server: all of it is added, or nothing."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from operando.cli import OK, REFUSED, main
from operando.configuration import load_stations
from operando.queueing._redis import RedisServer, client
from operando.queueing.errors import QueueError
from operando.queueing.managers import Manager, start_manager, wait_for_manager
from operando.queueing.model import Mount
from operando.queueing.store import Store

pytestmark = pytest.mark.timeout(180)

PROTOCOLS = [
    {"protocol": "zinc-wetting", "set": {"every.image_s": None}},
    {"protocol": "zinc-symmetric-1-1", "set": {"technique.total_h": 10}},
]


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="operando-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def manager(data: Path) -> Iterator[Manager]:
    """The queue server of station A1; that of A2 does not run."""
    redis = RedisServer(data)
    redis.ensure()
    entry = load_stations().station("A1")
    assert entry is not None
    process = start_manager(data, entry)
    one = wait_for_manager(data, "A1", process)
    one.lock()
    yield one
    with contextlib.suppress(QueueError):
        one.stop()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(60)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    redis.stop()


def campaign(folder: Path, **told: Any) -> str:
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump({"campaign": "two", "protocols": PROTOCOLS} | told))
    return str(path)


def test_a_campaign_is_added_once_and_all_of_it_or_nothing(
    data: Path,
    manager: Manager,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(data))
    # Of A2, where the second cell goes, there is no queue server.
    both = campaign(tmp_path, samples=[{"cell": "zn-bare"}, {"cell": "zn-znf2"}])
    assert main(["queue", "campaign", both]) == REFUSED
    said = capsys.readouterr().err
    assert "Item 3 of 4 could not be added; nothing was added." in said
    assert "A2" in said
    assert manager.items() == []

    # What was removed again is no campaign that was added before.
    one = ["queue", "campaign", both, "--stations", "A1", "--by", "anna"]
    assert main([*one, "--json"]) == OK
    plan = json.loads(capsys.readouterr().out)
    items = manager.items()
    assert [item["item_uid"] for item in items] == plan["ids"]
    told = [item["kwargs"] for item in items]
    assert [kwargs["sample"]["cell_id"] for kwargs in told] == [
        *["ZN-ZN-001"] * 2,
        *["ZN-ZNF2-001"] * 2,
    ]
    assert [kwargs.get("after", "") for kwargs in told] == ["", plan["ids"][0], "", plan["ids"][2]]
    assert {kwargs["campaign"] for kwargs in told} == {f"two@{plan['content']}"}
    assert not any(kwargs.get("hold", False) for kwargs in told)
    assert told[1]["protocol"]["technique"]["total_h"] == 10

    # What is in the queue comes before what is added later.
    assert main(["queue", "campaign", both, "--dry-run", "--stations", "A1", "--json"]) == OK
    later = json.loads(capsys.readouterr().out)
    lasts = sum(item["longest_s"] for item in plan["items"])
    assert later["items"][0]["begins"] - later["begins"] == pytest.approx(lasts)

    assert main(one) == REFUSED
    assert "was added before, with the same" in capsys.readouterr().err
    changed = campaign(tmp_path, samples=[{"cell": "zn-bare", "labels": ["ZN-7"]}])
    assert main(["queue", "campaign", changed, "--stations", "A1"]) == REFUSED
    assert "was added before, with another content" in capsys.readouterr().err
    assert len(manager.items()) == 4
    assert main(["queue", "campaign", changed, "--stations", "A1", "--again"]) == OK
    assert len(manager.items()) == 6


def test_a_cell_that_is_mounted_elsewhere_is_told_before_anything_is_added(
    data: Path,
    manager: Manager,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(data))
    with contextlib.closing(client(RedisServer(data).address())) as redis:
        mount = Mount(station="A2", cell_id="ZN-9", sample={}, by="anna", at=1.0)
        Store(redis).put_mount(mount)
        before = manager.items()
        path = campaign(tmp_path, samples=[{"cell": "zn-bare", "labels": ["ZN-9"],
                                            "station": "A1"}])  # fmt: skip
        assert main(["queue", "campaign", path, "--again"]) == REFUSED
        assert "cell ZN-9 is mounted in station A2" in capsys.readouterr().err
        assert manager.items() == before
        Store(redis).remove_mount("A2")
