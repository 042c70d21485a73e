"""Convolutions as sums over shifted planes: what lies where, decided before a line is written.

All three products of a convolution are taken from images that are copied into planes of scratch
memory first, with zeros around them; where windows move by more than one pixel, each remainder has
planes of its own (a `phase`). Then every pixel that one place of the window sees is the neighbour
of the one that the next window sees, and an image is one long line: a window is a list of `Tap`s,
offsets into that line. Lanes run along it, over the ends of rows as well, and what comes out there
is dropped.

    forward   result = taps of the input times weights, summed over channels
    input     the input's gradient: the same from the result's gradient, the window turned around;
              where windows move by more than one pixel, a `Part` for each remainder
    weight    the weight's gradient: sums along the lines, of both the planes
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

__all__ = ["Convolution", "Copy", "Part", "Planes", "Pool", "Tap", "copies", "parts", "planes"]

Pair = tuple[int, int]


class Convolution(NamedTuple):
    """One of the three products (`way`) of windows that slide over two dimensions.

    Channels and outputs fall into so many groups, and each is a convolution of its own (`one`).
    `before` is the padding above and to the left; that on the other sides follows from `out`.
    """

    way: str
    batch: int
    channels: int
    outputs: int
    space: Pair
    kernel: Pair
    out: Pair
    stride: Pair
    before: Pair
    dilation: Pair
    groups: int = 1

    @property
    def work(self) -> int:
        """Multiply-adds."""
        return self.batch * self.channels * self.one.outputs * prod(self.kernel) * prod(self.out)

    @property
    def one(self) -> Convolution:
        """That of one group."""
        return self._replace(channels=self.channels // self.groups,
                             outputs=self.outputs // self.groups, groups=1)

    @property
    def extent(self) -> int:
        """How many pieces there are for threads: images of a group, or rows, or those of a group.
        """
        if self.way != "weight":
            return self.batch * self.groups
        return self.outputs if self.groups == 1 else self.groups

    @property
    def rows(self) -> int:
        """Of how many channels the result of a pass over the planes is."""
        return self.channels if self.way == "input" else self.outputs

    @property
    def summed(self) -> int:
        """Over how many channels a pass sums."""
        return self.outputs if self.way == "input" else self.channels


class Pool(NamedTuple):
    """The largest element ("max") or the sum of windows that each see one channel; or, the `way`
    of which is "input", its gradient."""

    what: str
    windows: Convolution

    @property
    def work(self) -> int:
        """Comparisons or additions, and what is around them."""
        return 2 * self.windows.work

    @property
    def extent(self) -> int:
        """How many pieces there are for threads: channels of all images."""
        return self.windows.extent


class Planes(NamedTuple):
    """Where an image's channels lie: [phase][channel][row][column]."""

    phases: Pair
    channels: int
    size: Pair
    before: Pair  # zeros above and to the left

    @property
    def channel(self) -> int:
        """From one channel to the next."""
        return prod(self.size)

    @property
    def length(self) -> int:
        """Of all planes."""
        return prod(self.phases) * self.channels * self.channel

    def place(self, row: int, column: int) -> int:
        """Where a pixel of the first channel lies, counted with the zeros before."""
        (up, along), (high, wide) = self.phases, self.size
        phase = row % up * along + column % along
        return (phase * self.channels * high + row // up) * wide + column // along


class Tap(NamedTuple):
    """A place of the window: how far from a result's place, and which of the window's weights."""

    offset: int
    place: Pair


class Part(NamedTuple):
    """Results that see the same places of the window: where the line of pixels begins that they
    are computed along, how many there are down and across, where they go."""

    taps: tuple[Tap, ...]
    start: int
    counts: Pair
    first: Pair  # row and column of the first result
    step: Pair  # to the next ones

    def line(self, planes: Planes) -> int:
        """How long the line is."""
        return (self.counts[0] - 1) * planes.size[1] + self.counts[1]


class Copy(NamedTuple):
    """Pixels that go into planes of one phase, from `first` on in steps, and to which place."""

    first: Pair
    step: Pair
    counts: Pair
    place: int


def planes(conv: Convolution) -> Planes:
    """The planes that are read with taps."""
    if conv.way == "input":
        lengths = [side(*sides) for sides in zip(conv.space, conv.kernel, conv.out, conv.stride,
                                                 conv.before, conv.dilation, strict=True)]
        before = tuple(reach for reach, _ in lengths)
        size = tuple(length for _, length in lengths)
        return Planes((1, 1), conv.outputs, size, before)  # type: ignore[arg-type]
    size = tuple((s * (o - 1) + d * (k - 1)) // s + 1 for s, o, d, k in zip(
        conv.stride, conv.out, conv.dilation, conv.kernel, strict=True))
    return Planes(conv.stride, conv.channels, size, conv.before)  # type: ignore[arg-type]


def side(space: int, kernel: int, out: int, stride: int, before: int, dilation: int) -> Pair:
    """Along one dimension, of the planes of a result's gradient: zeros before, and the length."""
    reach = dilation * (kernel - 1) // stride
    return reach, reach + max(out, (before + space - 1) // stride + 1)


def copies(planes: Planes, space: Pair) -> list[Copy]:
    """How an image of `space` gets into planes; what no window sees stays out."""
    found = []
    for up in range(planes.phases[0]):
        for along in range(planes.phases[1]):
            sides = [one_side(*sides) for sides in zip(
                (up, along), planes.phases, planes.size, planes.before, space, strict=True)]
            (top, down, high), (left, right, wide) = sides
            if high > 0 and wide > 0:
                place = planes.place(down * planes.phases[0] + up,
                                     right * planes.phases[1] + along)
                found.append(Copy((top, left), planes.phases, (high, wide), place))
    return found


def one_side(phase: int, phases: int, size: int, before: int, space: int) -> tuple[int, int, int]:
    """Of one phase: the first pixel, its place in a plane, and how many there are."""
    first = (phase - before) % phases
    place = (first + before) // phases
    return first, place, min(-(-(space - first) // phases), size - place)


def parts(conv: Convolution) -> list[Part]:
    """What is computed from the planes; of the weight's gradient, the taps alone."""
    lying = planes(conv)
    (kh, kw), (dy, dx), (sy, sx) = conv.kernel, conv.dilation, conv.stride
    window = [(y, x) for y in range(kh) for x in range(kw)]
    if conv.way != "input":
        taps = tuple(Tap(lying.place(y * dy, x * dx), (y, x)) for y, x in window)
        return [Part(taps, 0, conv.out, (0, 0), (1, 1))]
    found = []
    for up in range(sy):
        for along in range(sx):
            (v, high), (u, wide) = (results_of(phase, *sides) for phase, *sides in zip(
                (up, along), conv.stride, conv.before, conv.space, strict=True))
            taps = tuple(Tap(-(y * dy // sy * lying.size[1] + x * dx // sx), (y, x))
                         for y, x in window if (y * dy % sy, x * dx % sx) == (up, along))
            start = lying.place(v + lying.before[0], u + lying.before[1])
            first = up + sy * v - conv.before[0], along + sx * u - conv.before[1]
            if high > 0 and wide > 0:
                found.append(Part(taps, start, (high, wide), first, (sy, sx)))
    return found


def results_of(phase: int, stride: int, before: int, space: int) -> Pair:
    """Which pixels, counted in strides, have this remainder: the first, and how many."""
    first = -((phase - before) // stride)
    last = (before + space - 1 - phase) // stride
    return first, last - first + 1
