"""A process to be killed: a session that runs a protocol on a bench, until it ends or is ended.

Arguments: bench file, protocol file, data folder, and ``fork`` if it shall have a forked child, as
pools of processes have. It prints one JSON line when its run has begun
(``run``, ``guard``: the process id of the guard) and one when the run has ended (``ended``).
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from operando.session import RunFailedError, Session


def main() -> None:
    """Run until the run ends, or somebody ends us."""
    bench, protocol, data, *forks = sys.argv[1:]
    with Session(bench, Path(data), catalog=False) as session:

        def say(name: str, doc: dict[str, Any]) -> None:
            if forks and not os.fork():
                time.sleep(60)
                os._exit(0)
            guard = (session.guard_state() or {}).get("pid")
            print(json.dumps({"run": doc["uid"], "guard": guard}), flush=True)

        session.RE.subscribe(say, "start")
        try:
            session.run_protocol(Path(protocol))
            ended = "as planned"
        except RunFailedError as error:
            ended = error.reason
        print(json.dumps({"ended": ended}), flush=True)


if __name__ == "__main__":
    main()
