"""Let one client speak: ``python -m benchmarks.peers.clients CLIENT ADDRESS FOLDER``.

Prints JSON: by what was asked, what came.
"""

import importlib
import json
import os
import sys
from pathlib import Path

# By client: the module here that has a function of that name.
CLIENTS = {
    "qcodes": "keithley",
    "pymeasure": "keithley",
    "tektronix": "keithley",
    "methodscript": "potentiostats",
    "rodeostat": "potentiostats",
    "grammar": "grammar",
    "wasatch": "spectrometers",
    "seabreeze": "spectrometers",
    "fusion": "chromatographs",
    "yadg": "chromatographs",
    "vicivalve": "chromatographs",
    "huber": "auxiliaries",
    "julabo": "auxiliaries",
    "ezo": "auxiliaries",
    "qcm200": "auxiliaries",
    "keller": "auxiliaries",
    "numato": "auxiliaries",
    "zaber": "auxiliaries",
}


def main(client: str, address: str, folder: Path) -> None:
    """Let it speak and print what it read."""
    module = importlib.import_module(f"benchmarks.peers.clients.{CLIENTS[client]}")
    os.chdir(folder)  # some keep a log where they are
    found = getattr(module, client)(address, folder)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
