"""`python -m kkori` is the command `kkori`."""

from __future__ import annotations

import sys

from kkori.cli import main

if __name__ == "__main__":
    sys.exit(main())
