"""A replay is the run again: same documents, same order, same uids, and nothing stored."""

import functools
import time

import pytest
from bluesky.run_engine import RunEngine
from bluesky_tiled_plugins import TiledWriter
from event_model import compose_run

from operando import replay as replaying
from operando.journal import JournalWriter, list_runs
from operando.replay import replay
from operando.runs import RunBuilder


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


def test_a_writer_is_found_wherever_it_is_hidden(tmp_path):
    uid, _ = write_run(tmp_path)
    catalog = TiledWriter.__new__(TiledWriter)

    def forward(name, doc, to=None):
        (to or catalog)(name, doc)

    class Several:
        def __init__(self, *callbacks):
            self.callbacks = list(callbacks)

        def __call__(self, name, doc):
            for callback in self.callbacks:
                callback(name, doc)

    with JournalWriter(tmp_path / "other") as writer:
        hidden = [
            writer.__call__,
            functools.partial(forward, to=writer),
            forward,
            Several(print, writer),
            Several(Several(forward)),
            RunEngine.__new__(RunEngine).emit_sync,
        ]
        for callback in hidden:
            with pytest.raises(ValueError, match="a replay is never stored"):
                replay(uid, tmp_path, callback)
    assert not (tmp_path / "other").exists()
    assert replay(uid, tmp_path, Several(RunBuilder())) == 6


def write_cycles(folder, before=0.0, **md):
    """Write two cycles of three rows each, in pages of two rows, with a frame in each cycle."""
    key = {"source": "test", "dtype": "number", "shape": []}
    with JournalWriter(folder) as writer:
        run = compose_run(time=1000.0 + before, metadata=md)
        writer("start", run.start_doc)
        keys = [f"potentiostat_{name}" for name in ("cycle", "half_cycle", "role")]
        leader = run.compose_descriptor(name="potentiostat", data_keys=dict.fromkeys(keys, key))
        frames = run.compose_descriptor(name="camera", data_keys={"x": key})
        for bundle in (leader, frames):
            writer("descriptor", bundle.descriptor_doc)
        cycles = [before + cycle for cycle in (0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0)]
        for first in range(0, len(cycles), 2):
            times = [5000.0 + first, 5001.0 + first]
            page = leader.compose_event_page(
                data=dict.fromkeys(keys, cycles[first : first + 2]),
                timestamps=dict.fromkeys(keys, times),
                seq_num=[first + 1, first + 2],
                time=times,
            )
            writer("event_page", page)
            event = frames.compose_event(data={"x": 0.0}, timestamps={"x": 0.0}, time=times[-1])
            writer("event", event)
        writer("stop", run.compose_stop(time=5010.0))
    return run.start_doc["uid"]


def test_a_replay_from_a_cycle_describes_the_run_and_begins_with_its_first_row(tmp_path):
    uid = write_cycles(tmp_path)
    told = []
    # What describes the run was written more than an hour before; nobody waits for that.
    replay(uid, tmp_path, lambda *d: told.append(d), speed=20.0, from_cycle=2)
    names = ["start", "descriptor", "descriptor", "event_page", "event", "event_page", "event"]
    assert [name for name, _ in told] == [*names, "stop"]
    page = told[3][1]
    assert page["seq_num"] == [5, 6]
    builder = RunBuilder()
    replay(uid, tmp_path, builder, from_cycle=3)  # in the middle of a page
    assert builder.run.streams["potentiostat"].columns["potentiostat_cycle"].tolist() == [3.0]
    with pytest.raises(LookupError, match=r"cycle 4"):
        replay(uid, tmp_path, builder, from_cycle=4)


def test_what_was_told_of_programs_before_a_cycle_waits_for_nobody(monkeypatch):
    slept = []
    monkeypatch.setattr(replaying.time, "sleep", slept.append)
    told = [
        ("start", {"time": 0.0}),
        ("descriptor", {"uid": "p", "name": "programs", "time": 0.0}),
        ("event", {"descriptor": "p", "time": 10.0}),
        ("event_page", {"descriptor": "rows", "time": [5000.0]}),
    ]
    assert list(replaying._paced(told, 1.0, described_at_once=True)) == told
    assert slept == []
    list(replaying._paced(told, 1.0, described_at_once=False))
    assert len(slept) == 2


def test_an_experiment_in_several_runs_is_replayed_as_one(tmp_path):
    root = write_cycles(tmp_path)
    # The interrupted cycle 3 goes on in the second run.
    second = write_cycles(tmp_path, 3.0, resume_of=root, resume={"of": root, "root": root})

    def starts(uid, **options):
        told = []
        replay(uid, tmp_path, lambda name, doc: told.append((name, doc)), **options)
        return [doc["uid"] for name, doc in told if name == "start"], told

    for uid in (root, second):
        found, told = starts(uid)
        assert found == [root, second]
        assert [name for name, _ in told].count("stop") == 2
    assert starts(second, chain=False)[0] == [second]
    assert starts(second, from_cycle=3)[0] == [root, second]
    found, told = starts(root, from_cycle=5)
    assert found == [second]
    first = next(doc for name, doc in told if name == "event_page")
    assert first["data"]["potentiostat_cycle"] == [5.0, 5.0]
    with pytest.raises(LookupError, match="cycle 9"):
        starts(root, from_cycle=9)


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
