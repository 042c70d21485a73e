"""Thousands of random programs, run by hand: can one of them tell that it is recorded?

    python tests/hot/invisible.py 0 2000            seeds from 0 up to 2000
    python tests/hot/invisible.py 0 2000 --shorten  ... and make those that can as short as possible
    python tests/hot/invisible.py program.py        the program in a file

Every hundred programs have a process of their own, so a crash is one more way to tell.
"""

from __future__ import annotations

import argparse
import faulthandler
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]
CHUNK = 100


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("what", nargs="+", help="first and last seed, or a file")
    reader.add_argument("--shorten", action="store_true", help="of programs that can tell")
    reader.add_argument("--here", action="store_true", help="all in this process")
    reader.add_argument("--jobs", type=int, default=1, help="processes at a time")
    options = reader.parse_args()
    if len(options.what) == 1:
        return one_file(Path(options.what[0]))
    first, last = map(int, options.what)
    if options.here:
        return check(range(first, last), options.shorten)
    return in_processes(first, last, options)


def one_file(path: Path) -> int:
    from watch import compare
    text, rounds = compare(path.read_text(), path.stem)
    print(f"{rounds} rounds replayed; {text or 'no difference'}")
    return bool(text)


def in_processes(first: int, last: int, options: argparse.Namespace) -> int:
    waiting = list(range(first, last, CHUNK))
    running: list[tuple[int, subprocess.Popen[bytes]]] = []
    bad = 0
    while waiting or running:
        while waiting and len(running) < options.jobs:
            start = waiting.pop(0)
            end = min(start + CHUNK, last)
            command = [sys.executable, __file__, str(start), str(end), "--here"]
            running.append((start, subprocess.Popen(
                command + ["--shorten"] * options.shorten)))
        start, process = running.pop(0)
        code = process.wait()
        bad += code != 0
        if code not in (0, 1):
            print(f"programs from {start}: the process ended with {code}", flush=True)
    return bad


def check(seeds: range, shorten: bool) -> int:
    """Compare the programs of some seeds; 1 if one of them can tell."""
    from programs import program
    from watch import HEADER, compare, smallest
    bad = many = 0
    start = time.perf_counter()
    for seed in seeds:
        faulthandler.dump_traceback_later(100, exit=True)
        source = program(seed)
        text, rounds = compare(source, seed)
        many += rounds > 3
        if text:
            bad += 1
            faulthandler.dump_traceback_later(900, exit=True)
            print(f"# program {seed}: {text[:600]}")
            if shorten and "Thread" not in source:  # what depends on luck is left as it is
                source = smallest(source, seed)
                print(f"# now: {compare(source, seed)[0][:600]}")
            print(HEADER + source + "\n", flush=True)
    faulthandler.cancel_dump_traceback_later()
    print(f"# programs {seeds.start} to {seeds.stop}: {bad} can tell, {many} were replayed, "
          f"{time.perf_counter() - start:.0f} s", flush=True)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
