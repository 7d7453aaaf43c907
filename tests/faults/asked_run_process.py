"""Run a protocol, and ask something of the run in half-cycles; to be killed.

Arguments: protocol file, data folder, file with [half-cycle, request] pairs as JSON. Each answer is
printed.
"""

import json
import sys
import threading
import time
from pathlib import Path

from pydantic import TypeAdapter

from operando.configuration import load_bench
from operando.session import Session
from techniques import Request


def main() -> None:
    protocol, data, asked = (Path(argument) for argument in sys.argv[1:])
    requests: TypeAdapter[Request] = TypeAdapter(Request)

    def ask(session: Session) -> None:
        leader = session.devices["potentiostat"]
        for half_cycle, request in json.loads(asked.read_text()):
            while (row := leader.latest()) is None or row.half_cycle < half_cycle or row.role == 0:
                time.sleep(0.005)
            answer = session.requests.put(requests.validate_python(request)).answer(30.0)
            print(answer, flush=True)

    with Session(load_bench("sim").only({"potentiostat"}), data, catalog=False) as session:
        threading.Thread(target=ask, args=(session,), daemon=True).start()
        session.run_protocol(protocol)


if __name__ == "__main__":
    main()
