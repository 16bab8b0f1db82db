"""``python -m wam``: the command ``wam``, see :mod:`wam.cli`."""

import sys

from wam.cli import main

sys.exit(main())
