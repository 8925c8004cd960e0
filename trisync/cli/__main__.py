"""`python -m trisync.cli`: the same as the installed `trisync` command."""

from __future__ import annotations

import sys

from trisync.cli import main

sys.exit(main())
