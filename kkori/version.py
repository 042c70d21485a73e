"""Which release this is, and which PyTorch it stands in for."""

from __future__ import annotations

release = "0.1.0"
reference = "2.13.0"

# What `torch.version` offers; there is no build of CUDA or ROCm in this package.
cuda = None
hip = None
xpu = None
debug = False
git_version = "unknown"


class TorchVersion(str):
    """A version string that also compares with tuples and with other version strings.

    PyTorch programs write `torch.__version__ >= "1.8"` and `>= (1, 8)`; both compare numbers here,
    as they do in PyTorch (`torch.torch_version.TorchVersion`).

    >>> TorchVersion("2.13.0+kkori.0.1.0") >= (2, 9)
    True
    """

    __slots__ = ()

    def __lt__(self, other):
        return _numbers(self) < _numbers(other)

    def __le__(self, other):
        return _numbers(self) <= _numbers(other)

    def __gt__(self, other):
        return _numbers(self) > _numbers(other)

    def __ge__(self, other):
        return _numbers(self) >= _numbers(other)


def _numbers(version: object) -> tuple[int, ...]:
    """The release numbers of a version, without trailing zeros: "2.13.0+cpu" is (2, 13)."""
    if isinstance(version, str):
        release_part = version.partition("+")[0]
        parts: list = [_leading_digits(part) for part in release_part.split(".")]
    else:
        parts = [_leading_digits(str(part)) for part in version]  # type: ignore[attr-defined]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _leading_digits(part: str) -> int:
    digits = ""
    for character in part:
        if not character.isdigit():
            break
        digits += character
    return int(digits or 0)


__version__ = TorchVersion(f"{reference}+kkori.{release}")
