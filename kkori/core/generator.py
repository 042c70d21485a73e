"""The source of random bits: PyTorch's CPU generator, a Mersenne Twister with a saved state.

The twister itself is NumPy's `MT19937`; what PyTorch adds is the seed it remembers, two normal
samples held back for the next call (Box and Muller make them in pairs) and the layout of the
state's 5056 bytes, so that states can be handed to PyTorch and back.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from kkori.core.device import CPU, device

__all__ = ["Generator", "current", "default_generator"]

FIRST_SEED = 67280421310721  # what a new PyTorch generator is seeded with
WORDS = 624  # 32-bit words in the twister's state
STATE = np.dtype({
    "names": ["seed", "left", "seeded", "next", "words", "normal_double", "has_normal_double",
              "normal_float", "has_normal_float"],
    "formats": ["<u8", "<i4", "<i4", "<u8", ("<u8", WORDS), "<f8", "<i4", "<f4", "?"],
    "offsets": [0, 8, 12, 16, 24, 5024, 5040, 5048, 5052],
    "itemsize": 5056,
})


def _fresh_seed() -> int:
    """64 bits from the operating system, as `torch.seed` takes them."""
    return int.from_bytes(os.urandom(8), "little")


class Generator:
    """A stream of pseudo-random bits, equal to ``torch.Generator(device='cpu')``.

    >>> import kkori as torch
    >>> source = torch.Generator().manual_seed(0)
    >>> torch.rand(2, generator=source)
    tensor([0.4963, 0.7682])
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.device = _checked_device(device)
        self.next_normal_double: float | None = None
        self.next_normal_float: float | None = None
        self._seed: int | None = FIRST_SEED  # None: taken from the system at the first use
        self._engine: Any = None  # made at the first draw: importing numpy.random takes 20 ms
        self._draw: Any = None
        self._drawn = False

    # ---- seeds

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to `seed`, an int in [-2**63, 2**64); returns itself."""
        if not isinstance(seed, (int, np.integer)) or isinstance(seed, (bool, np.bool_)):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        self._seed = unsigned(int(seed))
        self.next_normal_double = self.next_normal_float = None
        self._drawn = False
        if self._engine is not None:
            self._engine._legacy_seeding(self._seed & 0xFFFFFFFF)
        return self

    def seed(self) -> int:
        """Start a stream nobody has seen, seeded by the operating system; returns the seed."""
        seed = _fresh_seed()
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed the present stream was started with."""
        if self._seed is None:
            self._seed = _fresh_seed()
        return self._seed

    # ---- draws

    def raw(self, count: int) -> np.ndarray:
        """The next `count` 32-bit numbers, in an array of uint64."""
        if self._draw is None:
            self._start()
        self._drawn = True
        return self._draw(count)

    def _start(self) -> None:
        from numpy.random import MT19937
        self._engine = MT19937(0)
        self._engine._legacy_seeding(self.initial_seed() & 0xFFFFFFFF)
        self._draw = self._engine.random_raw

    # ---- states

    def state_bytes(self) -> np.ndarray:
        """The whole state as 5056 bytes (uint8), laid out as PyTorch lays it out."""
        if self._engine is None:
            self._start()
        twister = self._engine.state["state"]
        record = np.zeros((), STATE)
        record["seed"], record["seeded"], record["words"] = self._seed, 1, twister["key"]
        record["next"] = twister["pos"] if self._drawn else 0
        record["left"] = WORDS + 1 - twister["pos"]
        for kind in ("double", "float"):
            sample = getattr(self, f"next_normal_{kind}")
            if sample is not None:
                record[f"normal_{kind}"], record[f"has_normal_{kind}"] = sample, True
        return np.frombuffer(record.tobytes(), np.uint8).copy()

    def load_state_bytes(self, state: np.ndarray) -> None:
        """Continue from `state`, which `state_bytes` or PyTorch wrote. RuntimeError if malformed.

        Nothing changes unless the state is whole.
        """
        if state.size != STATE.itemsize:
            raise RuntimeError(f"Expected a CPUGeneratorImplState of size {STATE.itemsize} but "
                               f"found the input RNG state size to be {state.size}")
        record = np.frombuffer(state.tobytes(), STATE)[0]
        left, position = int(record["left"]), int(record["next"])
        if record["seeded"] != 1 or not 0 < left <= WORDS or position > WORDS:
            raise RuntimeError("Invalid mt19937 state")
        if self._engine is None:
            self._start()
        self._engine.state = {"bit_generator": "MT19937", "state": {
            "key": record["words"].astype(np.uint32), "pos": WORDS if left == 1 else position}}
        self._seed, self._drawn = int(record["seed"]), not (left == 1 and position == 0)
        for kind in ("double", "float"):
            held = float(record[f"normal_{kind}"]) if record[f"has_normal_{kind}"] else None
            setattr(self, f"next_normal_{kind}", held)

    def clone_state(self) -> Generator:
        """Another generator, at the same place of the same stream."""
        twin = Generator(self.device)
        twin.load_state_bytes(self.state_bytes())
        return twin

    def get_offset(self) -> int:
        """RuntimeError: only generators of other devices count by offset."""
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        """RuntimeError: only generators of other devices count by offset."""
        raise RuntimeError("CPU Generator does not use offset")

    def graphsafe_get_state(self) -> Generator:
        """NotImplementedError, as in PyTorch: it belongs to CUDA graphs."""
        raise NotImplementedError("graphsafe_get_state is not supported in this Generator")

    def graphsafe_set_state(self, state: Generator) -> None:
        """NotImplementedError, as in PyTorch: it belongs to CUDA graphs."""
        raise NotImplementedError("graphsafe_set_state is not supported in this Generator")

    def __getstate__(self) -> dict[str, Any]:
        return {"device": self.device, "bytes": self.state_bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["device"])  # type: ignore[misc]
        self.load_state_bytes(state["bytes"])

    def __repr__(self) -> str:
        return f"<torch._C.Generator object at {id(self):#x}>"


def unsigned(seed: int) -> int:
    """`seed` as 64 bits without sign; ValueError, in PyTorch's words, where it does not fit."""
    if not -2**63 <= seed < 2**64:
        raise ValueError("Overflow when unpacking long long")
    return seed & 0xFFFFFFFFFFFFFFFF


NO_CUDA = (
    "Cannot get CUDA generator without ATen_cuda library. PyTorch splits its backend into two "
    "shared libraries: a CPU library and a CUDA library; this error has occurred because you are "
    "trying to use some CUDA functionality, but the CUDA library has not been loaded by the "
    "dynamic linker for some reason.  The CUDA library MUST be loaded, EVEN IF you don't directly "
    "use any symbols from the CUDA library! One common culprit is a lack of -Wl,--no-as-needed in "
    "your link arguments; many dynamic linkers will delete dynamic library dependencies if you "
    "don't depend on any of their symbols.  You can check if this has occurred by using ldd on "
    "your binary to see if there is a dependency on *_cuda.so library.")


def _checked_device(place: Any) -> device:
    if isinstance(place, int):
        raise RuntimeError("Cannot access accelerator device when none is available.")
    found = place if isinstance(place, device) else device(place)
    if found.type == "cpu":
        return CPU
    if found.type == "cuda":
        raise RuntimeError(NO_CUDA)
    raise RuntimeError(f"{found.type.upper()} device type not an accelerator.")


default_generator = Generator()
default_generator._seed = None


class _Here(threading.local):
    """What differs from thread to thread."""

    generator: Generator | None = None


here = _Here()


def current() -> Generator:
    """The default generator; a data-loading thread has one of its own in its place."""
    return here.generator or default_generator
