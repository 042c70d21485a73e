"""The drivers and the op table are modules of their own; tests in this folder import them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
