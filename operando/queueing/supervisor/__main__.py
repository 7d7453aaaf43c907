"""``python -m operando.queueing.supervisor``: supervise until a signal comes."""

import sys

from ._serve import main

if __name__ == "__main__":
    sys.exit(main())
