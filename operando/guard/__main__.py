"""The guard's process: ``python -m operando.guard``, started by a session and by nobody else."""

import sys

from ._process import main

if __name__ == "__main__":
    sys.exit(main())
