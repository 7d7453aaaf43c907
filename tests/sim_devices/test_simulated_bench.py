import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import serial
import skimage.io

from sim_devices.bench import Bench, Fault
from sim_devices.truth import read_truth


@contextlib.contextmanager
def simulator(folder, *options, instruments="relay_board,camera", stdin=subprocess.PIPE):
    """The simulator as its users start it: another process, owned through its standard input."""
    command = [sys.executable, "-m", "sim_devices", "--publish", str(folder), "--cell", "zn-bare"]
    command += ["--instruments", instruments, *options]
    with subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(50)


def published(folder, name):
    return (folder / name).read_text().strip()


def wait_for(condition):
    while not condition():
        time.sleep(0.005)


@contextlib.contextmanager
def terminal(folder):
    """A terminal program that is not ours, on the relay board."""
    url = published(folder, "relay_board").removeprefix("serial://").replace("tcp://", "socket://")
    with serial.serial_for_url(url, timeout=50) as port:

        def say(command):
            port.write(command.encode("ascii") + b"\r")
            return port.read_until(b">")

        yield say


def test_the_simulator_publishes_its_addresses_and_then_says_that_it_is_ready(tmp_path):
    folder = tmp_path / "bench"
    with simulator(folder) as process:
        assert process.stdout.readline().startswith("simulated bench ready in ")
        assert int(published(folder, "ready")) == process.pid
        assert published(folder, "relay_board").startswith(("serial:///dev/", "tcp://127.0.0.1:"))
        assert published(folder, "camera").startswith("pylon-emulation:///")
        assert published(folder, "chromatograms").startswith("folder:///")
        assert not (folder / "potentiostat").exists()


def test_when_its_owner_goes_the_simulator_ends_and_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "bench"
    with simulator(folder) as process:
        process.stdout.readline()
        frames = Path(published(folder, "camera").removeprefix("pylon-emulation://"))
        assert frames.is_dir()
        (folder / "faults").write_text("")
        process.stdin.close()
        assert process.wait(50) == 0
        assert process.stderr.read() == ""
    assert not frames.parent.exists()
    left = {path.name for path in folder.iterdir()}
    assert left <= {"sim_truth", "chromatogram_files", "faults"}  # results stay


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_simulator_in_order(tmp_path, number):
    with simulator(tmp_path, "--foreground", stdin=subprocess.DEVNULL) as process:
        process.stdout.readline()
        assert process.poll() is None  # in the foreground the end of input is nothing
        process.send_signal(number)
        assert process.wait(50) == 0
        assert process.stderr.read() == ""
    assert not (tmp_path / "ready").exists()
    assert read_truth(tmp_path / "sim_truth", "cell")[-1]["event"] == "end"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--instruments", "kettle"], "kettle"),
        (["--instruments", ""], "unknown"),
        (["--cell", "lead"], "lead"),
        (["--fault", "potentiostat"], "INSTRUMENT:FAULT"),
    ],
)
def test_a_wrong_option_is_refused_with_the_reason(tmp_path, options, complaint):
    with simulator(tmp_path, *options) as process:
        assert process.wait(50) == 2
        assert complaint in process.stderr.read()
    assert not (tmp_path / "ready").exists()


def test_two_simulators_do_not_publish_in_one_folder(tmp_path):
    with simulator(tmp_path) as first:
        first.stdout.readline()
        with simulator(tmp_path) as second:
            assert second.wait(50) == 2
            assert str(first.pid) in second.stderr.read()
        assert int(published(tmp_path, "ready")) == first.pid


def test_a_folder_of_a_killed_simulator_can_be_used_again(tmp_path):
    with simulator(tmp_path) as first:
        first.stdout.readline()
        frames = Path(published(tmp_path, "camera").removeprefix("pylon-emulation://"))
        first.kill()
        first.wait()
    # As if the process had died long ago: the next one clears up what it left in memory.
    os.utime(frames, (0, 0))
    with simulator(tmp_path) as second:
        second.stdout.readline()
        assert int(published(tmp_path, "ready")) == second.pid
        assert not frames.exists()


def test_the_relay_board_is_wired_to_the_lamp_and_the_chromatograph(tmp_path):
    with simulator(tmp_path, "--factor", "4000") as process:
        process.stdout.readline()
        frames = Path(published(tmp_path, "camera").removeprefix("pylon-emulation://"))
        results = Path(published(tmp_path, "chromatograms").removeprefix("folder://"))
        with terminal(tmp_path) as say:
            say("relay on 2")
            wait_for(lambda: skimage.io.imread(frames / "frame.bmp").mean() > 80)
            say("relay off 2")
            wait_for(lambda: skimage.io.imread(frames / "frame.bmp").mean() < 10)
            assert b"\r1\n" in say("gpio read 3")
            say("relay on 0")
            wait_for(lambda: b"\r0\n" in say("gpio read 3"))
            say("relay off 0")
            wait_for(lambda: b"\r1\n" in say("gpio read 3"))
        (result,) = results.glob("*.json")
        assert json.loads(result.read_text())["detectors"]
    frames_told = [
        line for line in read_truth(tmp_path / "sim_truth", "camera") if line["event"] == "frame"
    ]
    assert 0 < len(frames_told) < 200


def test_without_terminals_the_instruments_listen_on_the_loopback_interface(tmp_path):
    with simulator(tmp_path, "--no-pty", instruments="relay_board") as process:
        process.stdout.readline()
        assert published(tmp_path, "relay_board").startswith("tcp://127.0.0.1:")
        with terminal(tmp_path) as say:
            assert b"00000009" in say("ver")


def test_faults_come_from_the_command_line_and_from_a_file_at_any_time(tmp_path):
    options = ["--fault", "relay_board:garble:count=1"]
    with simulator(tmp_path, *options, instruments="relay_board") as process:
        process.stdout.readline()
        truth = tmp_path / "sim_truth"

        def outcomes():
            lines = read_truth(truth, "bench")
            return [line["outcome"] for line in lines if line["event"] == "fault"]

        wait_for(lambda: len(outcomes()) == 1)
        with terminal(tmp_path) as say:
            assert not say("ver").isascii()
            assert say("ver") == b"ver\n\r00000009\n\r>"
            with (tmp_path / "faults").open("a") as file:
                file.write('{"instrument": "relay_board", "fault": "drop", "count": 1}\n')
                file.write("what?\n")
                file.write('{"instrument": "kettle", "fault": "stall"}\n')
                file.write('{"instrument": "relay_board", "fault": "garble", "count": "x"}\n')
                file.write('{"instrument": "relay_board", "fault": "stall", "at": 1e9}\n')
            wait_for(lambda: len(outcomes()) == 5)
            assert say("ver") == b"\r00000009\n\r>"  # the echo got lost
    assert [outcome.split(":")[0] for outcome in outcomes()] == [
        "injected",
        "not a fault",
        "injected",
        "'kettle' cannot be broken",
        "ValueError",
    ]


def test_a_fault_waits_for_its_cell_time(tmp_path):
    fault = Fault.from_text("relay_board:power-cycle@100:seconds=0.01")
    assert fault == Fault("relay_board", "power-cycle", 100.0, {"seconds": 0.01})
    bench = Bench(tmp_path, "zn-bare", instruments=["relay_board"], faults=[fault])
    with contextlib.closing(bench):
        bench.cell.advance(99.0)
        time.sleep(0.05)
        events = [line["event"] for line in read_truth(tmp_path / "sim_truth", "bench")]
        assert events == ["started"]
        bench.cell.advance(2.0)
        wait_for(lambda: len(read_truth(tmp_path / "sim_truth", "bench")) == 2)
    line = read_truth(tmp_path / "sim_truth", "bench")[1]
    assert line["cell_t_s"] == 101.0
    assert line["outcome"] == "injected"


def test_a_short_at_a_cell_time_is_found_by_the_cell_itself_and_told_in_the_truth(tmp_path):
    fault = Fault.from_text("cell:soft-short@100:ohm=25:seconds=40")
    bench = Bench(tmp_path, "zn-zro2", instruments=["relay_board"], faults=[fault])
    truth = tmp_path / "sim_truth"
    with contextlib.closing(bench):
        wait_for(lambda: len(read_truth(truth, "bench")) == 2)
        bench.cell.advance(500.0, "i", -0.25)
    line = read_truth(truth, "bench")[1]
    assert (line["cell_t_s"], line["outcome"]) == (0.0, "injected")
    assert line["done"] == {"ohm": 25.0, "begins_s": 100.0, "ends_s": 140.0}
    shorts = [line for line in read_truth(truth, "cell") if line["event"] == "short"]
    assert shorts == [
        {
            "event": "short",
            "cell_t_s": 100.0,
            "kind": "soft",
            "ohm": 25.0,
            "ends_s": 140.0,
            "injected": True,
        }
    ]


def test_what_the_cell_is_made_of_is_in_the_truth(tmp_path):
    for name in ("na-znag-half", "dummy-2rc"):
        with contextlib.closing(Bench(tmp_path / name, name, instruments=["relay_board"])) as b:
            made = read_truth(tmp_path / name / "sim_truth", "cell")[0]
            assert made["event"] == "made"
            assert made["parameters"] == json.loads(json.dumps(b.cell.told()))


def test_a_blind_cell_is_drawn_from_the_benchs_seed_and_told_with_every_error(tmp_path):
    told = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        with contextlib.closing(
            Bench(tmp_path / folder, "blind-na-half", seed=seed, instruments=["potentiostat"])
        ):
            truth = tmp_path / folder / "sim_truth"
            made = read_truth(truth, "cell")[0]
            instrument = read_truth(truth, "potentiostat")[0]
        told.append((made["parameters"], instrument["current_gain"]))
        assert instrument["potential_drift_v_h"] != 0
        assert instrument["current_gain_drift_per_h"] != 0
        assert made["contact_ohm"] > 0
    assert told[0] == told[1]
    assert told[0][0] != told[2][0]


def test_a_dummy_cell_is_not_looked_at(tmp_path):
    with simulator(tmp_path, "--cell", "dummy-10ohm") as process:
        assert process.wait(50) == 2
        assert "nothing to see for camera" in process.stderr.read()


def test_half_cycles_and_the_end_are_in_the_truth(tmp_path):
    bench = Bench(tmp_path, "zn-bare", instruments=["relay_board"])
    with contextlib.closing(bench):
        for current in (-1.0, 1.0):
            bench.cell.advance(600.0, "i", current)
    lines = read_truth(tmp_path / "sim_truth", "cell")
    assert [line["event"] for line in lines] == ["made", "turn", "turn", "end"]
    assert [line["cell_t_s"] for line in lines[1:]] == [0.0, 600.0, 1200.0]
    assert lines[2]["working"]["charge_cathodic"] == pytest.approx(1 / 6)


def test_an_instrument_less_does_not_change_the_others(tmp_path):
    noise = []
    for name, instruments in (("one", ["relay_board"]), ("two", ["relay_board", "camera"])):
        with contextlib.closing(Bench(tmp_path / name, "zn-bare", instruments=instruments)) as b:
            noise.append(b._instruments["chromatograph"].trace(0.0).tolist())
    assert noise[0] == noise[1]


def test_the_whole_bench_starts_and_ends(tmp_path):
    everything = "potentiostat,relay_board,camera,raman,thermostat"
    with simulator(tmp_path, "--no-pty", instruments=everything) as process:
        process.stdout.readline()
        schemes = {
            name: published(tmp_path, name).split("://")[0] for name in everything.split(",")
        }
        assert schemes == {
            "potentiostat": "tcp",
            "relay_board": "tcp",
            "camera": "pylon-emulation",
            "raman": "usb+tcp",
            "thermostat": "tcp",
        }
        process.stdin.close()
        assert process.wait(50) == 0
        assert process.stderr.read() == ""
    assert not any((tmp_path / name).exists() for name in [*schemes, "ready", "chromatograms"])
