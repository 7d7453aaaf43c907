"""``python -m operando`` is the command ``operando``."""

import sys

from operando.cli import main

sys.exit(main())
