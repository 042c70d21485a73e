"""Write down what PyTorch 2.13.0 prints for each lesson in examples/course.

usage: record.py     (in an environment that holds torch)

The first line of each .txt file beside this script is the command, `$ LESSON.py OPTIONS`. It is
kept, and the lines after it are written anew; tests/test_examples.py holds kkori to them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
COURSE = HERE.parent.parent / "examples" / "course"


def record(path: Path) -> None:
    command = path.read_text(encoding="utf-8").splitlines()[0]
    lesson, *options = command.removeprefix("$ ").split()
    with tempfile.TemporaryDirectory() as folder:
        printed = subprocess.run(
            [sys.executable, COURSE / lesson, *options],
            cwd=folder,  # where the pictures go, to ./out
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONUTF8": "1"},
            encoding="utf-8",
            check=True,
        ).stdout
    path.write_text(f"{command}\n{printed}", encoding="utf-8")


if __name__ == "__main__":
    for path in sorted(HERE.glob("*.txt")):
        record(path)
        print("recorded", path.name)
