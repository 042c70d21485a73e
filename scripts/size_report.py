"""What kkori weighs: its wheel, and all that `pip install .` brings into a fresh environment.

Prints both and exits 1 where one is over its limit.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEGABYTE = 1_000_000
WHEEL_LIMIT = 2 * MEGABYTE
INSTALLED_LIMIT = 300 * MEGABYTE


def pip(python: Path, *arguments: str) -> None:
    """Run pip of that environment; its output is shown only where it fails."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def sizes_by_package(site_packages: Path) -> dict[str, int]:
    """Bytes of each entry of site-packages; a package's metadata and libraries count with it."""
    sizes: dict[str, int] = {}
    for entry in site_packages.iterdir():
        name = entry.name.partition("-")[0].partition(".")[0].lower()
        size = folder_size(entry) if entry.is_dir() else entry.stat().st_size
        sizes[name] = sizes.get(name, 0) + size
    return sizes


def installed_sizes(wheel: Path, workplace: Path) -> dict[str, int]:
    """Install the wheel in a fresh environment and weigh what came with it, without pip itself."""
    folder = workplace / "environment"
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    (site_packages,) = folder.rglob("site-packages")
    before = sizes_by_package(site_packages)
    pip(python, "install", "--no-compile", str(wheel))
    after = sizes_by_package(site_packages)
    return {name: size for name, size in after.items() if name not in before}


def report(title: str, size: int, limit: int) -> bool:
    """Print one line of the report; True where the size keeps its limit."""
    verdict = "ok" if size <= limit else "TOO LARGE"
    print(f"{title:<28}{size / MEGABYTE:>9.2f} MB   limit {limit / MEGABYTE:.0f} MB   {verdict}")
    return size <= limit


def main() -> int:
    """Build, install, weigh, print. The exit code."""
    with tempfile.TemporaryDirectory() as name:
        workplace = Path(name)
        pip(Path(sys.executable), "wheel", "--no-deps", "-w", str(workplace), str(ROOT))
        (wheel,) = workplace.glob("kkori-*.whl")
        wheel_size = wheel.stat().st_size
        sizes = installed_sizes(wheel, workplace)
    for package, size in sorted(sizes.items(), key=lambda item: -item[1]):
        if size > MEGABYTE / 10:
            print(f"  {package:<26}{size / MEGABYTE:>9.2f} MB")
    fits = report("wheel", wheel_size, WHEEL_LIMIT)
    fits &= report("pip install ., unpacked", sum(sizes.values()), INSTALLED_LIMIT)
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
