"""Tickets: one execution each, of one plan in one station; and what a worker tells afterwards."""

import stat
import time
from pathlib import Path

import pytest

from operando.queueing.errors import QueueError
from operando.queueing.places import station_dir
from operando.queueing.tickets import (
    REPORT,
    TICKET,
    AttemptReport,
    issue,
    read_report,
    redeem,
    write_report,
)


def test_a_ticket_is_good_for_one_execution(tmp_path: Path) -> None:
    token = issue(tmp_path, "A1", "item-1", "run_protocol", attempt=2, label="zn 3/5")
    path = station_dir(tmp_path, "A1") / TICKET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ticket = redeem(tmp_path, "A1", "run_protocol", token)
    assert (ticket.item, ticket.attempt, ticket.label) == ("item-1", 2, "zn 3/5")
    with pytest.raises(QueueError, match="without a ticket"):
        redeem(tmp_path, "A1", "run_protocol", token)


def test_a_new_ticket_makes_the_one_before_void(tmp_path: Path) -> None:
    first = issue(tmp_path, "A1", "item-1", "run_protocol")
    second = issue(tmp_path, "A1", "item-2", "run_protocol")
    with pytest.raises(QueueError, match="wrong ticket"):
        redeem(tmp_path, "A1", "run_protocol", first)
    assert redeem(tmp_path, "A1", "run_protocol", second).item == "item-2"


def test_a_ticket_of_another_plan_is_refused_and_stays_good(tmp_path: Path) -> None:
    token = issue(tmp_path, "A1", "item-1", "resume_protocol")
    with pytest.raises(QueueError, match="ticket of resume_protocol"):
        redeem(tmp_path, "A1", "run_protocol", token)
    with pytest.raises(QueueError, match="wrong ticket"):
        redeem(tmp_path, "A1", "resume_protocol", "ümlaut")
    assert redeem(tmp_path, "A1", "resume_protocol", token).item == "item-1"


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"token": 5}', "\x00"])
def test_a_file_that_is_no_ticket_lets_nobody_in(tmp_path: Path, content: str) -> None:
    issue(tmp_path, "A1", "item-1", "run_protocol")
    (station_dir(tmp_path, "A1") / TICKET).write_text(content)
    with pytest.raises(QueueError, match="cannot be read"):
        redeem(tmp_path, "A1", "run_protocol", "")


def test_what_became_of_an_execution_is_read_as_it_was_told(tmp_path: Path) -> None:
    issue(tmp_path, "A1", "item-1", "run_protocol")
    assert read_report(tmp_path, "A1") is None
    report = AttemptReport(
        ticket="t", item="item-1", what="run_protocol", exit_status="refused", at=time.time()
    )
    write_report(tmp_path, "A1", report)
    assert read_report(tmp_path, "A1") == report
    (station_dir(tmp_path, "A1") / REPORT).write_text("{")
    assert read_report(tmp_path, "A1") is None
