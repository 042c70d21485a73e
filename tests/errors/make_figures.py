"""Write figures.json: what PyTorch says to each of the mistakes in cases/.

Run as `python tests/errors/make_figures.py` where PyTorch 2.13.0 is installed. A mistake is a
small function of the module under test whose name starts with `case_`; it raises or only warns.
`test_errors.py` makes the same mistakes with kkori.
"""

from __future__ import annotations

import json
import re
import runpy
import warnings
from pathlib import Path

HERE = Path(__file__).parent
FIGURES = HERE / "figures.json"
CASES = {
    name.removeprefix("case_"): function
    for path in sorted((HERE / "cases").glob("*.py"))
    for name, function in runpy.run_path(str(path)).items()
    if name.startswith("case_")
}
# PyTorch's own reports of many lines, compared as a whole.
REPORT = "Error(s) in loading state_dict"
PLACE_IN_PYTORCH = re.compile(r" \(Triggered internally at .*\)$")


def first_line(message):
    return PLACE_IN_PYTORCH.sub("", str(message).split("\n", 1)[0])


def run(torch, name):
    """The exception (or None) and the warnings of one mistake made with the module `torch`."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        # What NumPy says of NaN and infinity inside kkori is no warning; `always` forgot that.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"kkori(\.|$)")
        torch.manual_seed(0)
        try:
            CASES[name](torch)
        except Exception as error:
            return error, warned
    return None, warned


def figure(torch, name):
    """What is compared: the type and first line of the error and of each warning."""
    error, warned = run(torch, name)
    said = {}
    if error is not None:
        line = str(error) if str(error).startswith(REPORT) else first_line(error)
        said = {"type": type(error).__name__, "line": line}
    told = [[entry.category.__name__, first_line(entry.message)] for entry in warned]
    return said | ({"warnings": told} if told else {})


def main():
    import torch

    torch.set_warn_always(True)
    figures = {name: figure(torch, name) for name in CASES}
    FIGURES.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
