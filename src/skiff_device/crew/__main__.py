"""`python3 -m skiff_device.crew WORDS`, which /usr/bin/crew and the log-in call."""

from __future__ import annotations

import sys

from skiff_device.crew.main import main

sys.exit(main(sys.argv[1:]))
