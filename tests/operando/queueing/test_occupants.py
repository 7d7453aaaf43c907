"""Whose cell it is: the potentiostat at which it was mounted, and no other one, drives it."""

import json
import time
from pathlib import Path

import pytest

from operando.queueing._occupants import FILE, noted, refuse_another
from operando.queueing.errors import QueueError

OURS, THEIRS = "EmStat4 HR ES4HR24C0001", "EmStat4 HR ES4HR24C0002"


def test_a_cell_is_run_by_the_one_at_which_it_was_mounted(tmp_path: Path) -> None:
    assert [who for _, who in noted(tmp_path, OURS)] == [OURS]
    mounted_at = time.time()
    refuse_another(noted(tmp_path, OURS), mounted_at, "A1")
    time.sleep(0.01)
    were = noted(tmp_path, THEIRS)
    with pytest.raises(QueueError, match=f"mounted at the potentiostat {OURS}, and {THEIRS}"):
        refuse_another(were, mounted_at, "A1")
    refuse_another(were, None, "A1")
    refuse_another(were, time.time(), "A1")  # it was mounted again
    # The cables were put right.
    refuse_another(noted(tmp_path, OURS), mounted_at, "A1")
    assert len(noted(tmp_path, OURS)) == 3


def test_a_mount_remembers_its_potentiostat_and_where_nothing_does_it_is_made_again(
    tmp_path: Path,
) -> None:
    mounted_at = time.time() - 60.0
    for damaged in (None, "", "[[", '{"a": 1}', "[[1, 2, 3]]", '[["x", "y"]]'):
        if damaged is not None:
            (tmp_path / FILE).write_text(damaged)
        were = noted(tmp_path, OURS)
        assert [who for _, who in were] == [OURS]
        with pytest.raises(QueueError, match=r"not known any more .*operando mount CELL"):
            refuse_another(were, mounted_at, "A1")
        with pytest.raises(QueueError, match=f"mounted at the potentiostat {THEIRS}, and {OURS}"):
            refuse_another(were, mounted_at, "A1", THEIRS)
        refuse_another(were, mounted_at, "A1", OURS)


def test_only_who_was_there_last_is_kept_in_the_file(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps([(float(n), f"one of {n}") for n in range(60)]))
    noted(tmp_path, OURS)
    assert len(json.loads((tmp_path / FILE).read_text())) == 50
