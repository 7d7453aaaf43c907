"""A Micro GC Fusion, what it tells, and a sampling valve."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.clients.bare import host_of, path_of, stand_in

_RUN_WITHIN_S = 30.0


def fusion(address: str, folder: Path) -> dict[str, Any]:
    """Ask INFICON's own example of a client."""
    del folder
    from MicroGCFusionAPI.fusion import Fusion

    host, port = host_of(address)
    gc = Fusion(f"{host}:{port}")
    found: dict[str, Any] = {
        "connected": gc.connected(),
        "serial number": gc.info.serialNumber(),
        "part number": gc.info.partNumber(),
        "host name": gc.info.hostname(),
        "modules": sorted(name for name in vars(gc) if name.startswith("module")),
        "methods": sorted(gc.methods.getAll()),
        "state before a method": gc.status(),
    }
    gc.control.loadMethod("H2_molecular_sieve")
    found["state with one"] = gc.status()
    found["method"] = sorted(gc.methods.get("H2_molecular_sieve"))
    gc.control.runWithName("injection 1", ["a tag"])
    found["state of a run"] = gc.status()
    until = time.monotonic() + _RUN_WITHIN_S
    while gc.status()["system"] != "public:ready":
        if time.monotonic() > until:
            raise TimeoutError(f"the run has not ended within {_RUN_WITHIN_S:g} s")
        time.sleep(0.1)
    told = gc.data.compoundResults()
    found["annotations"] = told["annotations"]
    found["compounds"] = sorted(name for one in told["compounds"] for name in one)
    found["runs"] = gc.data.totalCount()
    found["the last one again"] = gc.data.getData(gc.data.lastRunID()) == gc.data.getLastX(1)[0]
    gc.control.bakeout(1)
    found["state of a bake-out"] = gc.status()
    gc.control.abortCurrentRun()
    found["state afterwards"] = gc.status()
    gc.close()
    return found


def yadg(address: str, folder: Path) -> dict[str, Any]:
    """Let yadg's own command read what ``/runData`` serves."""
    import requests

    manager = f"{address}/v1/scm/sessions/system-manager"
    method = "/v1/methods/userMethods/H2_molecular_sieve"
    requests.get(f"{manager}!cmd.loadMethod", {"methodLocation": method}, timeout=10)
    begun = requests.post(
        f"{manager}!cmd.run", json={"annotations": {"name": "run 1", "tags": []}}, timeout=10
    )
    begun.raise_for_status()
    until = time.monotonic() + _RUN_WITHIN_S
    while (last := requests.get(f"{address}/v1/lastRun", timeout=10)).status_code != 200:
        if time.monotonic() > until:
            raise TimeoutError(f"the run has not ended within {_RUN_WITHIN_S:g} s")
        time.sleep(0.1)
    served = requests.get(f"{address}/runData/{last.json()['dataLocation']}", timeout=10)
    told, extracted = folder / "served.json", folder / "extracted.nc"
    told.write_bytes(served.content)
    command = Path(sys.executable).with_name("yadg")
    subprocess.run(
        [command, "extract", "fusion.json", told, extracted, "--timezone", "UTC"],
        check=True,
        capture_output=True,
        text=True,
    )
    import xarray

    tree = xarray.open_datatree(extracted, engine="h5netcdf")
    species = [str(name) for name in tree["species"].values]
    of_served = {
        peak["label"]: peak
        for detector in served.json()["detectors"].values()
        for peak in detector["analysis"]["peaks"]
    }
    areas = dict(zip(species, map(float, tree["area"].values[0]), strict=True))
    return {
        "method": json.loads(tree.attrs["original_metadata"])["method"],
        "species": species,
        "areas as served": all(areas[name] == of_served[name]["area"] for name in species),
        "points of the trace": {
            name: group.sizes["elution_time"] for name, group in tree.children.items()
        },
        "seconds of the trace": [float(x["elution_time"][-1]) for x in tree.children.values()],
    }


def vicivalve(address: str, folder: Path) -> dict[str, Any]:
    """Ask the Hein group's driver, over pyserial."""
    del folder
    # Imported for the other of its two kinds of port, which is not used here.
    stand_in("ftdi_serial", "Serial", "SerialReadTimeoutException")
    import serial
    from vicivalve import VICI

    with serial.Serial(path_of(address), 9600) as port:
        valve = VICI(port)
        found: dict[str, Any] = {"position": valve.current_position()}
        for position in ("B", "A"):
            valve.switch_valve(position)
            found[f"position after {position}"] = valve.current_position()
        found["toggled to"] = valve.toggle()
        found["homed"] = valve.home()
        found["position at home"] = valve.current_position()
        found["learned"] = valve.learn()
    return found
