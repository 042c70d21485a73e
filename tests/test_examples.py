"""Every lesson runs under `kkori run`, prints what PyTorch prints, and saves its pictures.

tests/lessons/*.txt hold the commands and what PyTorch 2.13.0 printed (recorded by record.py there).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LESSONS = sorted((TESTS / "lessons").glob("*.txt"))
COURSE = TESTS.parent / "examples" / "course"
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
DURATION = re.compile(r"[\d.]+ ms")
SMALLEST_PICTURE = 20_000  # bytes; an empty figure has fewer

for library in ("matplotlib", "pandas", "tqdm"):
    pytest.importorskip(library, reason="the lessons need the `examples` extra")


def kkori_run(script: Path, options: list[str], folder: Path) -> str:
    """What the script prints under `kkori run`, with `folder` as its working directory."""
    paths = [str(TESTS.parent), str(COURSE), os.environ.get("PYTHONPATH", "")]
    changes = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUTF8": "1",
        "OPENBLAS_NUM_THREADS": "1",  # tests run side by side: no more threads than processes
    }
    done = subprocess.run(
        [sys.executable, "-m", "kkori", "run", str(script), *options],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, **changes},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def words_and_numbers(printed: str) -> tuple[list[str], list[float]]:
    """The text without its numbers and spaces, and the numbers; durations are left out."""
    printed = DURATION.sub("ms", printed.replace("\\", "/"))
    return NUMBER.sub(" # ", printed).split(), [float(n) for n in NUMBER.findall(printed)]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_lesson_prints_what_pytorch_prints(lesson: Path, tmp_path: Path) -> None:
    command, _, expected = lesson.read_text(encoding="utf-8").partition("\n")
    script, *options = command.removeprefix("$ ").split()
    printed = kkori_run(COURSE / script, options, tmp_path)
    words, numbers = words_and_numbers(printed)
    expected_words, expected_numbers = words_and_numbers(expected)
    assert words == expected_words
    assert numbers == pytest.approx(expected_numbers, rel=2e-3, abs=2e-4, nan_ok=True)
    for picture in re.findall(r"picture: (.*)", printed):
        saved = (tmp_path / picture).read_bytes()
        assert saved.startswith(b"\x89PNG") and len(saved) > SMALLEST_PICTURE


def test_every_lesson_is_recorded() -> None:
    assert [path.stem for path in sorted(COURSE.glob("[0-9]*.py"))] == [p.stem for p in LESSONS]


OVERLAP = """
import sys
sys.path.insert(0, sys.argv[1])
from digits import pixels
train = {bytes(image.numpy()) for digit in range(10) for image in pixels(digit)}
test = {bytes(image.numpy()) for digit in range(10) for image in pixels(digit, test=True)}
print(len(train), len(test), len(train & test))
"""


def test_no_digit_is_both_learnt_from_and_examined_on(tmp_path: Path) -> None:
    script = tmp_path / "overlap.py"
    script.write_text(OVERLAP, encoding="utf-8")
    assert kkori_run(script, [str(COURSE)], tmp_path).split() == ["3419", "854", "0"]


def test_demo_reads_98_percent_of_its_test_digits() -> None:
    """The figure is PyTorch's; test_lesson_prints_what_pytorch_prints holds kkori to it."""
    recorded = (TESTS / "lessons" / "06_three_or_seven.txt").read_text(encoding="utf-8")
    (accuracy,) = re.findall(r"test accuracy +([\d.]+)", recorded)
    assert float(accuracy) >= 0.98


def test_first_steps_is_a_notebook() -> None:
    notebook = json.loads((COURSE / "first_steps.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["language"]) == (4, "python")
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        assert "".join(cell["source"]).strip()
        assert cell["cell_type"] == "markdown" or cell["outputs"] == []


def test_first_steps_runs(tmp_path: Path) -> None:
    notebook = shutil.copy(COURSE / "first_steps.ipynb", tmp_path)  # pictures are saved beside it
    printed = kkori_run(Path(notebook), [], tmp_path)
    for figure in ("grad_fn=<PowBackward0>", "tensor(16.)", "tensor([2.4452]", "tensor([[4.0036]]"):
        assert figure in printed
    assert len(list(tmp_path.glob("*.png"))) == 2
