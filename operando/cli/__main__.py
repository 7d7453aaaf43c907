"""``python -m operando.cli`` is the command ``operando``."""

import sys

from . import main

sys.exit(main())
