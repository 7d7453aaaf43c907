"""The catalog's surroundings: its profile, its files, and what it leans on in other packages."""

import ast
import inspect
import json
import sqlite3
import stat
import textwrap
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from bluesky_tiled_plugins.writing import tiled_writer
from bluesky_tiled_plugins.writing.consolidators import ConsolidatorBase, consolidator_factory

from operando.catalog import CatalogError, profile_name, status, stop_service, write_profile
from operando.catalog._files import prepare_files
from operando.catalog._places import Places, read_address, service_key
from operando.catalog._profile import (
    can_read_files,
    catalog_tree,
    file_profile,
    hand_over_profile,
    profile_folder,
    save_profile,
    tell_who_had,
)
from operando.catalog._run_writer import RunWriter, column_type
from operando.catalog.unserved import tree

# Of the configuration tiled hands to alembic, when the tables are made in this process.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")


def attributes_of_self(kind):
    """Return the attributes that a class's own source takes from ``self``."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def test_the_run_writer_of_the_plugin_is_the_one_ours_was_written_for():
    base = tiled_writer._RunWriter
    plain, ours = base(None), RunWriter(None, begun_before=False)
    added = set(vars(ours)) - set(vars(plain))
    taken = {name for name in attributes_of_self(RunWriter) - added if name not in vars(RunWriter)}
    assert {name for name in taken if name.startswith("_")} == {
        "_consolidators",
        "_desc_nodes",
        "_external_data_cache",
        "_internal_arrays",
        "_internal_tables",
        "_sres_nodes",
        "_stream_resource_cache",
        "_update_data_source_for_node",
    }
    for name in taken:
        assert hasattr(plain, name), name
    # A name of ours that the base class takes for itself would be written by both.
    assert not added & attributes_of_self(base)
    changed = {name for name in vars(RunWriter) if callable(vars(RunWriter)[name])} & set(
        vars(base)
    )
    assert changed == {
        *("__init__", "start", "descriptor", "event", "event_page", "stream_resource"),
        *("stream_datum", "stop", "get_sres_node", "_close_stream_tree", "_update_consolidator"),
        "_write_external_data",
    }
    for name in changed - {"__init__"}:
        parameters = list(inspect.signature(getattr(RunWriter, name)).parameters)
        assert parameters == list(inspect.signature(getattr(base, name)).parameters), name
    assert list(inspect.signature(base.__init__).parameters)[:3] == ["self", "client", "batch_size"]


def test_the_consolidator_of_the_plugin_counts_the_rows_it_is_told_of():
    key = {"dtype": "array", "shape": [3, 4], "dtype_numpy": "<f8", "external": "STREAM:"}
    resource = {
        "uid": "resource",
        "data_key": "image",
        "mimetype": "application/x-hdf5",
        "uri": "file://localhost/nowhere.h5",
        "parameters": {"dataset": "/i", "chunk_shape": [1], "swmr": True},
    }
    made = consolidator_factory(resource, {"data_keys": {"image": key}, "uid": "descriptor"})
    consume = type(made).consume_stream_datum
    assert consume is ConsolidatorBase.consume_stream_datum
    made._num_rows += 7
    made.dims = ("image_row", "y", "x")
    made.chunk_shape = (100, 3, 4)
    assert made.shape == (7, 3, 4)
    structure = made.get_data_source().structure
    assert (structure.shape, structure.dims[0]) == ((7, 3, 4), "image_row")
    assert structure.chunks[0] == (7,)


@pytest.mark.parametrize(
    ("data_key", "kind"),
    [
        ({"dtype": "number"}, pa.float64()),
        ({"dtype": "number", "dtype_numpy": "<f4"}, pa.float32()),
        ({"dtype": "integer"}, pa.int64()),
        ({"dtype": "integer", "dtype_numpy": "|u1"}, pa.uint8()),
        ({"dtype": "boolean"}, pa.bool_()),
        ({"dtype": "string", "dtype_numpy": "<U12"}, pa.string()),
        ({"dtype": "array", "shape": [3], "dtype_numpy": "<f8"}, None),
        ({"dtype": "array", "shape": [None], "dtype_numpy": "<f8"}, pa.string()),
        ({"dtype": "array", "shape": [0]}, pa.string()),
        ({"dtype": "array", "shape": [2], "dtype_numpy": "<U3"}, pa.string()),
    ],
)
def test_the_type_of_a_column_comes_from_its_descriptor(data_key, kind):
    assert column_type(data_key) == kind


def test_the_default_folder_is_operando_and_others_carry_their_name(tmp_path, monkeypatch):
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path / "bench"))
    assert profile_name(tmp_path / "bench") == "operando"
    assert profile_name(tmp_path / "zinc") == "operando-zinc"
    assert profile_name(tmp_path / "sodium" / "data") == "operando-sodium"


def test_profiles_go_where_tiled_looks_first(monkeypatch):
    from tiled import profiles

    monkeypatch.delenv("TILED_PROFILES", raising=False)
    import platformdirs

    assert profile_folder() == Path(platformdirs.user_config_dir("tiled"), "profiles")
    monkeypatch.setenv("TILED_PROFILES", "/somewhere")
    assert profile_folder() == Path("/somewhere")
    assert "TILED_PROFILES" in inspect.getsource(profiles)


def test_a_profile_is_valid_for_tiled_and_private(tmp_path):
    from tiled.profiles import gather_profiles

    places = Places(tmp_path / "with 'quotes' and spaces")
    path = save_profile({"uri": "http://127.0.0.1:1/api/v1?api_key=x"}, "operando-x", tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ((file, content),) = gather_profiles([tmp_path])[0].items()
    assert (file, list(content)) == (path, ["operando-x"])
    with pytest.raises(CatalogError, match="without its service"):
        write_profile(places.data_dir, directory=tmp_path)


def test_a_closed_catalog_is_opened_from_its_files_where_the_whole_of_tiled_is(tmp_path):
    from tiled.profiles import gather_profiles

    places = Places(tmp_path / "data")
    prepare_files(places)
    folder = tmp_path / "profiles"
    if not can_read_files():
        with pytest.raises(CatalogError, match="without its service"):
            write_profile(places.data_dir, directory=folder)
        return
    write_profile(places.data_dir, directory=folder, name="closed")
    ((_, content),) = gather_profiles([folder])[0].items()
    assert list(content["closed"]) == ["direct"]


def test_a_profile_of_a_folder_that_is_gone_says_so(tmp_path):
    places = Places(tmp_path / "data")
    arguments = catalog_tree(places, writable=False)["args"]
    assert arguments["data_dir"] == str(places.data_dir)
    gone = rf"folder {places.data_dir} is gone.*catalog start"
    with pytest.raises(FileNotFoundError, match=gone):
        tree(**arguments)
    places.catalog.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=rf"{places.data_dir} has no catalog any more"):
        tree(**arguments)


def test_a_service_that_ends_leaves_a_name_alone_that_another_folder_took(tmp_path, monkeypatch):
    monkeypatch.setenv("TILED_PROFILES", str(tmp_path))
    ours, others, closed = {"uri": "http://a"}, {"uri": "http://b"}, {"direct": {}}
    path = save_profile(ours, "operando")
    hand_over_profile("operando", ours, closed)
    assert json.loads(path.read_text()) == {"operando": closed}
    hand_over_profile("operando", closed, None)
    assert not path.exists()
    hand_over_profile("operando", ours, None)
    hand_over_profile("operando", ours, closed)
    assert json.loads(path.read_text()) == {"operando": closed}
    save_profile(others, "operando")
    for then in (None, closed):
        hand_over_profile("operando", ours, then)
        assert json.loads(path.read_text()) == {"operando": others}
    path.write_text("operando: {uri: 'http://a'}  # by hand")
    hand_over_profile("operando", ours, None)
    assert path.exists()


def test_a_folder_that_takes_the_name_of_another_one_says_so(tmp_path, caplog):
    x, y = (Places(tmp_path / name / "exp" / "data") for name in "xy")
    assert profile_name(x.data_dir) == profile_name(y.data_dir) == "operando-exp"
    for places in (x, y):
        save_profile(
            {"uri": f"http://127.0.0.1:1/api/v1?api_key={service_key(places)}"},
            "operando-exp",
            tmp_path,
        )
        tell_who_had("operando-exp", places, tmp_path)
        assert not caplog.messages
    tell_who_had("operando-exp", x, tmp_path)
    assert "the name 'operando-exp' was that of http://127.0.0.1:1/api/v1;" in caplog.text
    assert str(x.data_dir) in caplog.text
    assert service_key(y) not in caplog.text
    caplog.clear()
    save_profile(file_profile(y), "operando-exp", tmp_path)
    tell_who_had("operando-exp", y, tmp_path)
    assert not caplog.messages
    tell_who_had("operando-exp", x, tmp_path)
    assert f"was that of {y.data_dir}" in caplog.text


def test_new_files_are_in_write_ahead_mode_and_know_their_place(tmp_path):
    places = Places(tmp_path / "data")
    prepare_files(places)
    for path in (places.metadata_db, places.tables_db):
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert json.loads(places.root.read_text())["root"] == str(places.data_dir)
    before = places.metadata_db.read_bytes()
    prepare_files(places)
    assert places.metadata_db.read_bytes() == before


def test_a_damaged_catalog_is_put_aside_and_begun_anew(tmp_path):
    places = Places(tmp_path / "data")
    places.catalog.mkdir(parents=True)
    places.metadata_db.write_bytes(b"no database, " * 100)
    places.ingested.write_text("some-uid\n")
    prepare_files(places)
    (aside,) = places.data_dir.glob("catalog-unreadable-*")
    assert (aside / "ingested").exists()
    assert not places.ingested.exists()


def test_a_locked_catalog_is_not_taken_for_a_damaged_one(tmp_path):
    places = Places(tmp_path / "data")
    prepare_files(places)
    with closing(sqlite3.connect(places.metadata_db, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            prepare_files(places)
    assert not list(places.data_dir.glob("catalog-unreadable-*"))


def test_the_key_is_drawn_once_and_private(tmp_path):
    places = Places(tmp_path)
    key = service_key(places)
    assert len(key) == 64
    assert service_key(places) == key
    assert stat.S_IMODE(places.key.stat().st_mode) == 0o600


def test_a_folder_without_service_or_catalog_has_a_status_and_nothing_to_stop(tmp_path):
    told = status(tmp_path / "not yet")
    assert (told.running, told.ready, told.runs, told.behind) == (False, False, 0, {})
    assert told.free_bytes > 0
    assert not stop_service(tmp_path / "not yet")
    places = Places(tmp_path / "not yet")
    places.state.mkdir(parents=True)
    places.address.write_text("half a fi")
    assert read_address(places) == {}
