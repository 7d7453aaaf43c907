"""Own ports, a journal and a guard, fork two children, tell what there is, wait to be killed.

Arguments: data folder, serial device, port. Prints JSON. One child ends by itself when it is told
so by a byte at standard input, through the exit handlers of the interpreter; it writes into the
file `closed` what it found after it had closed the session.
"""

import json
import os
import sys
import time
from pathlib import Path

from instruments.bench_file import BenchFile
from instruments.transport import open_transport
from operando.journal import JournalWriter, journal_path, try_lock
from operando.resume._record import _Held
from operando.session import Session


def main() -> None:
    data, device, port = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    session = Session(BenchFile(name="empty", instruments={}), data, catalog=False)
    session.connect()
    addresses = [f"serial://{device}", f"tcp://127.0.0.1:{port}"]
    addresses.append(f"visa:TCPIP::127.0.0.1::{port}::SOCKET")
    transports = [open_transport(address) for address in addresses]
    writer = JournalWriter(data)
    writer("start", {"uid": "run", "time": time.time()})
    other = data / "other"
    other.touch()
    held = _Held(other)
    assert try_lock(held.fd)
    assert session._guard is not None
    process = session._guard._process
    assert process is not None
    assert process.stdin is not None
    told = {
        "guard": process.pid,
        "pipe": os.readlink(f"/proc/self/fd/{process.stdin.fileno()}"),
        "journal": str(journal_path(data, "run")),
        "held": os.readlink(f"/proc/self/fd/{held.fd}"),
    }
    ends = os.fork()
    if ends == 0:
        sys.stdin.read(1)
        for transport in transports:
            transport.close()
        session.close()
        (data / "closed").write_text(f"connected: {session.connected}")
        return
    hears, tells = os.pipe()
    stays = os.fork()
    if stays == 0:
        os.write(tells, b"it runs")
        time.sleep(600)
        return
    os.read(hears, 1)
    print(json.dumps({"ends": ends, "stays": stays, **told}), flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
