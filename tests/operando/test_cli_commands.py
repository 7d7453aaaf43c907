"""The command line, as it is typed: real processes, real files, exit codes."""

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from event_model import compose_run

from operando import cli
from operando.catalog import CatalogError, rebuild_catalog, repair
from operando.journal import JournalWriter, list_runs
from operando.runs import Run
from operando.simulation import seed_of

pytestmark = pytest.mark.timeout(180)

AREA_CM2 = 1.131
SAMPLE = {
    "cell_id": "ZN-CU-7",
    "metal": "Zn",
    "metal_electrode": "WE",
    "working_electrode": {"material": "Cu", "area_cm2": AREA_CM2},
    "counter_electrode": {"material": "Zn", "area_cm2": AREA_CM2, "metal": "Zn"},
    "electrolyte": {"composition": "2 mol/L ZnSO4 in water"},
}
COLUMNS = ("t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")


def record(data_dir: Path, *, exit_status: str = "success", reason: str = "") -> str:
    """Write the journal of one plating (60 s) and stripping (59 s), as the RunEngine would."""
    key = {"source": "test", "dtype": "number", "shape": [], "units": ""}
    run = compose_run(metadata={"sample": SAMPLE, "protocol": "one cycle"})
    keys = {f"potentiostat_{name}": dict(key) for name in COLUMNS}
    stream = run.compose_descriptor(
        name="potentiostat", data_keys=keys, object_keys={"potentiostat": list(keys)}
    )
    with JournalWriter(data_dir) as journal:
        journal("start", run.start_doc)
        journal("descriptor", stream.descriptor_doc)
        for half, (role, duration_s) in enumerate([(-1, 60), (1, 59)], 1):
            rows = range(0, duration_s + 1)
            values = {
                "t": [60.0 * (half - 1) + t for t in rows],
                "potential": [0.03 * role] * len(rows),
                "current": [1e-3 * role] * len(rows),
                "cycle": [1.0] * len(rows),
                "half_cycle": [float(half)] * len(rows),
                "step": [float(half)] * len(rows),
                "role": [float(role)] * len(rows),
                "flags": [0.0] * len(rows),
            }
            page = stream.compose_event_page(
                data={f"potentiostat_{name}": column for name, column in values.items()},
                timestamps={f"potentiostat_{name}": [0.0] * len(rows) for name in values},
                seq_num=[61 * (half - 1) + t + 1 for t in rows],
                time=[time.time()] * len(rows),
            )
            journal("event_page", page)
        journal("stop", run.compose_stop(exit_status=exit_status, reason=reason))
    return str(run.start_doc["uid"])


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setenv("OPERANDO_DATA", str(folder))
    monkeypatch.delenv("OPERANDO_DEBUG", raising=False)
    return folder


def test_importing_the_command_line_is_cheap() -> None:
    code = (
        "import sys, operando.cli; "
        "heavy = {'numpy', 'pydantic', 'bluesky', 'ophyd', 'IPython', 'tiled'} & set(sys.modules); "
        "assert not heavy, heavy; "
        # Nor does it load more to tell what was refused.
        "assert operando.cli.main(['report', '--json', 'nothing']) == 2; "
        "heavy = {'instruments', 'tiled', 'operando.export'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_runs_tells_that_there_are_none_yet(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir.mkdir()
    assert cli.main(["runs"]) == 0
    assert capsys.readouterr().out == f"No runs in {data_dir} yet.\n"
    assert cli.main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    for asked in ([], ["--all"]):
        assert cli.main(["catalog", "verify", *asked]) == 0
        assert "No runs" in capsys.readouterr().out
    assert list(data_dir.iterdir()) == []  # nothing was started


@pytest.mark.parametrize(
    "command",
    [
        "runs",
        "report",
        "replay",
        "rerun",
        "resume",
        "export --to csv",
        "catalog status",
        "catalog verify --all",
        "catalog repair",
        "sim --replay last",
    ],
)
def test_a_mistyped_data_folder_is_refused_by_what_reads_and_not_made(
    command: str,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(command.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"there is no data folder {data_dir} (OPERANDO_DATA is {data_dir})" in line
    assert "To go on: point OPERANDO_DATA at" in line
    assert not data_dir.exists()
    monkeypatch.delenv("OPERANDO_DATA")
    monkeypatch.chdir(data_dir.parent)
    assert cli.main(command.split()) == 2
    assert "OPERANDO_DATA is not set, so it is ./data" in capsys.readouterr().err
    monkeypatch.setenv("OPERANDO_DATA", str(data_dir))
    data_dir.write_text("in the way")
    assert cli.main(command.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f" {data_dir}: Not a directory. To go on: move the file away" in line


def test_runs_lists_the_newest_first_with_what_happened(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = record(data_dir)
    second = record(data_dir, exit_status="abort", reason="stopped by SIGINT")
    assert cli.main(["runs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [run["uid"] for run in listed] == [second, first]
    newest = listed[0]
    assert newest["sample"] == SAMPLE["cell_id"]
    assert newest["exit_status"] == "abort"
    assert newest["reason"] == "stopped by SIGINT"
    assert newest["rows"] == {"potentiostat": 121}
    assert cli.main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(second[:8])
    assert "abort (stopped by SIGINT)" in lines[0]


def test_runs_shows_the_newest_unless_all_are_asked_for(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uids = [record(data_dir) for _ in range(3)]
    assert cli.main(["runs", "-n", "1"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(uids[2][:8])
    assert last == "... and 2 older (--all)"
    assert cli.main(["runs", "-n", "1", "--json"]) == 0
    assert [run["uid"] for run in json.loads(capsys.readouterr().out)] == uids[2:]
    assert cli.main(["runs", "--all"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_runs_are_found_by_a_number_that_a_report_has_computed(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = record(data_dir)
    assert cli.main(["report", uid]) == 0
    capsys.readouterr()
    found = ["runs", "--where", "initial_ce_pct > 90", "--columns", "ce_pct.mean,ce_sd_pct"]
    assert cli.main(found) == 0
    told = capsys.readouterr()
    assert told.err == ""  # nothing had to be computed
    assert "initial_ce_pct 98" in told.out
    assert "ce_sd_pct -" in told.out
    assert cli.main(["runs", "--where", "initial_ce_pct > 99"]) == 0
    assert "are like this" in capsys.readouterr().out
    assert cli.main([*found, "--recompute"]) == 0
    assert "computing the metrics of 1 run, once" in capsys.readouterr().err
    assert cli.main(["runs", "--where", "ce_men_pct > 90"]) == 2
    assert "did you mean ce_mean_pct" in capsys.readouterr().err


def test_a_run_is_named_by_last_or_by_the_beginning_of_its_uid(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = record(data_dir), record(data_dir)
    told = {}
    for name in ("last", first[:8], second):
        assert cli.main(["report", name, "--json"]) == 0
        told[name] = json.loads(capsys.readouterr().out)["uid"]
    assert told == {"last": second, first[:8]: first, second: second}


def test_an_unknown_run_is_refused_with_the_runs_there_are(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = record(data_dir)
    assert cli.main(["report", "zzz"]) == 2
    told = capsys.readouterr().err
    assert "no run 'zzz'" in told
    assert uid[:8] in told
    assert "Traceback" not in told


def test_an_ambiguous_beginning_lists_what_it_may_mean(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uids: list[str] = []
    # Two of 17 hexadecimal uids begin alike.
    while len({uid[0] for uid in uids}) == len(uids):
        uids.append(record(data_dir))
    begin = uids[-1][0]
    assert cli.main(["report", begin]) == 2
    told = capsys.readouterr().err
    for uid in uids:
        assert (uid in told) == uid.startswith(begin)


def test_report_tells_the_numbers(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(data_dir)
    assert cli.main(["report", "last"]) == 0
    told = capsys.readouterr().out
    assert "ce_pct" in told
    assert cli.main(["report", "last", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)["metrics"]
    assert numbers["ce_pct"]["value"] == [pytest.approx(100 * 59 / 60)]
    undefined = [number for number in numbers.values() if number["value"] is None]
    assert undefined
    assert all(number["reason"] for number in undefined)


def test_a_replayed_run_gives_bit_for_bit_the_numbers_of_its_report(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(data_dir)
    journals = {path: path.read_bytes() for path in data_dir.rglob("*.opj")}
    assert cli.main(["report", "last", "--json"]) == 0
    reported = capsys.readouterr().out
    assert cli.main(["replay", "last", "--json"]) == 0
    assert capsys.readouterr().out == reported
    assert {path: path.read_bytes() for path in data_dir.rglob("*.opj")} == journals
    assert not (data_dir / "catalog").exists()


def test_replay_shows_the_table_and_then_the_numbers(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = record(data_dir)
    assert cli.main(["replay", uid[:8], "--speed", "1e6"]) == 0
    told = capsys.readouterr().out
    assert told.index("j / mA cm-2") < told.index("ended: success") < told.index("ce_pct")
    assert "cycle 1: coulombic efficiency 98.333 %" in told
    figure = data_dir / "drawn" / "run.png"
    assert cli.main(["replay", "--cycle", "1", "--json", "--figure", str(figure)]) == 0
    assert "ce_pct" in json.loads(capsys.readouterr().out)["metrics"]
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert cli.main(["replay", "--cycle", "2", "--json"]) == cli.REFUSED
    assert "cycle 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "zinc-oprando"], "did you mean 'zinc-operando'?"),
        (["run", "zinc-operando", "--set-cell", "zn-bar"], "did you mean 'zn-bare'?"),
        (["run", "zinc-operando", "--bench", "simm"], "did you mean 'sim'?"),
        (["run", "zinc-operando", "--only", "camara"], "bench 'sim' has no camara"),
    ],
)
def test_what_is_misspelled_is_refused_before_anything_starts(
    arguments: list[str], told: str, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""
    assert not data_dir.exists()


@pytest.mark.parametrize("in_the_way", ["data", "data/journal", "data/assets"])
def test_a_data_folder_that_cannot_be_one_is_refused_before_anything_starts(
    in_the_way: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "place" / in_the_way
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("in the way")
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path / "place" / "data"))
    assert cli.main(["run", "zinc-operando", "--simulate"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert f" {file}: " in line
    assert "To go on: move the file away" in line
    assert "OPERANDO_DATA" in line


def test_a_data_folder_that_may_not_be_written_is_refused_before_anything_starts(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, *rest: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    # The tests may be run by somebody whom no folder refuses.
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert cli.main(["run", "zinc-operando", "--simulate"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert f" {data_dir / 'journal'}: Permission denied. To go on: allow this user" in line


@pytest.mark.parametrize("verb", ["status", "start", "rebuild"])
def test_a_file_in_the_place_of_the_data_folder_is_no_traceback(
    verb: str, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir.write_text("in the way")
    assert cli.main(["catalog", verb]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f" {data_dir}: Not a directory. To go on: move the file away" in line
    assert "OPERANDO_DATA" in line


def test_a_figure_that_cannot_be_written_is_told_in_one_line(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(data_dir)
    file = data_dir.parent / "notes"
    file.write_text("in the way")
    assert cli.main(["report", "--figure", str(file / "run.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file}: " in line
    assert "OPERANDO_DATA" not in line


def test_errors_show_where_they_come_from_when_asked(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERANDO_DEBUG", "1")
    assert cli.main(["run", "no-such-protocol"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "fast"])
def test_a_factor_that_is_no_positive_number_is_refused(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "zinc-operando", "--factor", value])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("operando run: argument --factor: must be ")
    assert line.endswith("(operando run --help)")


def test_a_command_alone_is_the_one_among_all() -> None:
    def told(parser: argparse.ArgumentParser) -> dict[str, str]:
        (commands,) = [one for one in parser._actions if isinstance(one.choices, dict)]
        return {name: one.format_help() for name, one in dict(commands.choices or {}).items()}

    every = told(cli.command_line())
    alone = {name: told(cli.command_line(name)) for name in every}
    assert all(few[name] == every[name] for name, few in alone.items())
    assert list(alone["queue"]) == ["queue"]
    assert list(told(cli.command_line("--help"))) == list(every)


@pytest.mark.parametrize("command", ["run", "shell", "sim", "runs", "report", "replay", "catalog"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert len(capsys.readouterr().out) > 100


def test_version_tells_what_it_stands_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    told = capsys.readouterr().out
    assert all(f"{name} " in told for name in ("operando", "python", "bluesky", "databroker"))


def test_catalog_status_starts_nothing(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(data_dir)
    assert cli.main(["catalog", "status"]) == 0
    told = capsys.readouterr().out
    assert "does not run" in told
    assert "1 run," in told
    assert not (data_dir / "catalog").exists()


@pytest.mark.parametrize("verb", ["status", "stop", "verify", "repair", "rebuild"])
def test_a_catalog_of_a_folder_that_is_not_there_is_refused_and_not_made(
    verb: str, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["catalog", verb]) == cli.REFUSED
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert f"there is no data folder {data_dir}" in line
    assert "OPERANDO_DATA" in line
    assert not data_dir.exists()
    for asked in (rebuild_catalog, lambda folder: list(repair(folder))):
        with pytest.raises(CatalogError, match="there is no data folder"):
            asked(data_dir)
    assert not data_dir.exists()


def test_a_reader_that_goes_away_is_no_error(data_dir: Path) -> None:
    for _ in range(3):
        record(data_dir)
    process = subprocess.Popen(
        [sys.executable, "-m", "operando.cli", "runs"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OPERANDO_DATA": str(data_dir)},
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 1
    assert said == b""


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "operando.cli", "sim", "--dir", str(tmp_path / "sim")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        if process.poll() is None:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_simulated_bench_in_the_foreground_says_how_to_use_it_and_leaves_nothing(
    number: signal.Signals, simulator: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert simulator.stdout is not None
    assert simulator.stderr is not None
    told = ""
    while "Ctrl-C" not in told:
        line = simulator.stdout.readline()
        assert line, simulator.stderr.read()
        told += line
    assert f"export OPERANDO_SIM={tmp_path / 'sim'}" in told
    pid = int((told.split("process ")[1]).split(")")[0])
    assert (tmp_path / "sim" / "ready").exists()
    simulator.send_signal(number)
    assert simulator.wait(30) == 128 + number
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not (tmp_path / "sim" / "ready").exists()


PROTOCOL = """
name: short
cell: zn-bare-half
technique:
  type: sequence
  steps:
    - {type: open_circuit, duration_s: 2}
    - type: galvanostatic_step
      role: plate
      current_density_ma_cm2: 1.0
      until: [{quantity: time_s, value: SECONDS}]
"""


def start_run(folder: Path, seconds: float, factor: float, *more: str) -> subprocess.Popen[str]:
    protocol = folder / "short.yaml"
    protocol.write_text(PROTOCOL.replace("SECONDS", str(seconds)))
    arguments = ["run", str(protocol), "--simulate", "--only", "potentiostat"]
    return subprocess.Popen(
        [sys.executable, "-m", "operando.cli", *arguments, "--factor", str(factor), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPERANDO_DATA": str(folder / "data"), "TMPDIR": str(folder)},
    )


@pytest.fixture
def no_catalog_service(tmp_path: Path) -> None:
    # The service has tests of its own; a file in its way keeps it from starting.
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "state").write_text("in the way of the catalog service")


@pytest.mark.usefixtures("no_catalog_service")
def test_a_protocol_file_runs_and_is_recorded(tmp_path: Path) -> None:
    with start_run(tmp_path, 60, 200, "--replicate", "2") as process:
        out, err = process.communicate(timeout=50)
    assert process.returncode == 0, err
    (run,) = list_runs(tmp_path / "data")
    assert run.exit_status == "success"
    assert f"Recorded as {run.uid}" in out
    assert "simulated  EmStat4" in out
    assert "ended: success" in out
    # Another label is another cell: means and deviations over replicates are over cells.
    start = Run.from_journal(run.uid, tmp_path / "data").start
    assert start["sample"]["cell_id"] == "ZN-CU-001-2"
    seed = seed_of("ZN-CU-001-2")
    assert seed != seed_of("ZN-CU-001")
    assert start["simulated_cell"] == {"cell": "zn-bare-half", "seed": seed}
    assert f"zn-bare-half, seed {seed} ..." in out


def test_a_seed_without_a_simulated_cell_that_has_one_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for rest in ([], ["--simulate", "--replay", "last"]):
        assert cli.main(["run", "zinc-operando", "--seed", "3", *rest]) == cli.REFUSED
        assert "--seed 3 is of the cell that --simulate starts" in capsys.readouterr().err


@pytest.mark.usefixtures("no_catalog_service")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_keeps_its_rows_and_leaves_no_process(
    number: signal.Signals, tmp_path: Path
) -> None:
    with start_run(tmp_path, seconds=3600, factor=10) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if " plate " in line:
                break
        process.send_signal(number)
        _, err = process.communicate(timeout=50)
    assert process.returncode == 128 + number
    (run,) = list_runs(tmp_path / "data")
    assert (run.exit_status, run.reason) == ("abort", f"stopped by {number.name}")
    assert run.rows["potentiostat"] > 0
    assert run.uid in err
    assert "kept" in err
    assert "Traceback" not in err
    left = subprocess.run(
        ["ps", "-e", "-o", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    assert str(tmp_path) not in left


ASKED_IN_A_CALLBACK = """
import os, signal, sys, time, weakref
from operando import cli

class Referent: pass

def command(arguments):
    referent = Referent()
    asked = weakref.ref(referent, lambda _: os.kill(os.getpid(), int(sys.argv[1])))
    del referent
    time.sleep(30)

cli.command_line = lambda *_: type(
    "Parser", (), {"parse_args": lambda self, argv: type("Arguments", (), {"command": command})}
)()
sys.exit(cli.main([]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_while_something_is_finalized_is_not_lost(
    number: signal.Signals,
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ASKED_IN_A_CALLBACK, str(int(number))],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert ended.returncode == 128 + number, ended.stderr
    assert "Exception ignored" not in ended.stderr
