"""Run a protocol with every instrument and note each row the moment the driver has it.

To be killed. Arguments: protocol file, data folder, file for the notes.
"""

import os
import sys
import time
from pathlib import Path

from instruments._follower import LeaderRow
from operando.session import Session


def main() -> None:
    protocol, data, notes = (Path(argument) for argument in sys.argv[1:])
    # Not buffered: what is noted must outlive this process.
    noted = os.open(notes, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def note(row: LeaderRow) -> None:
        os.write(noted, f"{time.time()!r} {row.t_s!r}\n".encode("ascii"))

    with Session("sim", data) as session:
        session.devices["potentiostat"].on_row(note)
        session.run_protocol(protocol)


if __name__ == "__main__":
    main()
