"""A replay is the run again: same documents, same order, same uids, and nothing stored."""

import time

import pytest
from bluesky_tiled_plugins import TiledWriter
from event_model import compose_run

from operando.journal import JournalWriter, list_runs
from operando.replay import replay


def write_run(folder, *, seconds=0.0, stop=True):
    told = []
    with JournalWriter(folder) as writer:

        def tell(name, doc):
            told.append((name, doc))
            writer(name, doc)

        run = compose_run(time=1000.0)
        tell("start", run.start_doc)
        key = {"source": "test", "dtype": "number", "shape": []}
        stream = run.compose_descriptor(name="primary", data_keys={"x": key}, time=1000.0)
        tell("descriptor", stream.descriptor_doc)
        for number in range(1, 4):
            page = stream.compose_event_page(
                data={"x": [0.5, 1.5]},
                timestamps={"x": [1.0, 2.0]},
                seq_num=[2 * number - 1, 2 * number],
                time=[1000.0 + seconds * number / 3] * 2,
            )
            tell("event_page", page)
        if stop:
            tell("stop", run.compose_stop(time=1000.0 + seconds))
    return run.start_doc["uid"], told


def test_the_documents_come_in_order_with_their_uids_to_every_callback(tmp_path):
    uid, told = write_run(tmp_path)
    one, two = [], []
    count = replay("last", tmp_path, [lambda *d: one.append(d), lambda *d: two.append(d)])
    assert count == len(told) == 6
    assert one == two == [(name, doc) for name, doc in told]
    assert replay(uid[:8], tmp_path, lambda *d: None) == 6


def test_nothing_is_stored_by_a_replay(tmp_path):
    uid, _ = write_run(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*") if path.name != "index.db")
    with (
        JournalWriter(tmp_path / "other") as writer,
        pytest.raises(ValueError, match="a replay is never stored"),
    ):
        replay(uid, tmp_path, writer)
    with pytest.raises(ValueError, match="second time under the same uid"):
        replay(uid, tmp_path, TiledWriter.__new__(TiledWriter))
    replay(uid, tmp_path, lambda name, doc: None)
    assert sorted(path for path in tmp_path.rglob("*") if path.name != "index.db") == before
    assert len(list_runs(tmp_path)) == 1


def test_a_speed_keeps_the_pauses_between_documents(tmp_path):
    uid, _ = write_run(tmp_path, seconds=30.0)
    came = []
    began = time.monotonic()
    replay(uid, tmp_path, lambda name, doc: came.append(time.monotonic() - began), speed=100.0)
    due = [0.0, 0.0, 0.1, 0.2, 0.3, 0.3]
    assert all(at >= planned for at, planned in zip(came, due, strict=True))


def test_a_run_without_a_stop_is_replayed_as_far_as_it_is(tmp_path):
    uid, told = write_run(tmp_path, stop=False)
    names = []
    replay(uid, tmp_path, lambda name, doc: names.append(name))
    assert names == [name for name, _ in told]


def test_an_error_of_a_callback_ends_the_replay(tmp_path):
    uid, _ = write_run(tmp_path)

    def fail(name, doc):
        raise KeyError(name)

    with pytest.raises(KeyError, match="start"):
        replay(uid, tmp_path, fail)


@pytest.mark.parametrize("speed", [0, -1.0, float("nan")])
def test_a_speed_that_is_not_above_zero_is_refused(tmp_path, speed):
    uid, _ = write_run(tmp_path)
    with pytest.raises(ValueError, match="above 0"):
        replay(uid, tmp_path, lambda name, doc: None, speed=speed)


def test_an_unknown_run_is_named(tmp_path):
    with pytest.raises(LookupError, match="no run 'ffff'"):
        replay("ffff", tmp_path, lambda name, doc: None)
