"""Nests that are alike but for where their arrays are share one function: it is compiled once.

A recurrent net does the same in every step, a deep one in every layer. Their nests differ in the
places of arrays in the context, and in where slices of arrays begin. Where two texts are equal but
for such offsets, these become arguments of one function, and each nest is a call of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kkori.codegen.emit import Emitted

__all__ = ["texts"]

OFFSET = re.compile(r"(?m)(= getelementptr \w+, ptr %[\w.]+, i64 )(\d+)$")
HEAD = re.compile(r"define (?:internal )?(void @[\w.]+\(ptr %context, i64 %begin, i64 %end)")
CALL = re.compile(r"(call void @nest[\w.]*\(ptr %context, i64 \d+, i64 \d+)")


def texts(stages: Sequence[Emitted]) -> list[str]:
    """The text of each nest; that of what several share stands before the first of them."""
    groups: dict[str, list[Emitted]] = {}
    for stage in stages:
        groups.setdefault(OFFSET.sub(r"\1", nameless(stage)), []).append(stage)
    found: dict[str, str] = {}
    for alike in groups.values():
        found.update(shared(alike) if len(alike) > 1 else {alike[0].name: alike[0].text})
    return [found[stage.name] for stage in stages]


def stem(stage: Emitted) -> str:
    """With what the names of all functions of a nest begin."""
    return stage.name.removesuffix(".all")


def nameless(stage: Emitted) -> str:
    """The text of a nest under a name that all have."""
    return re.sub(rf"@{re.escape(stem(stage))}(?=[.(])", "@nest", stage.text)


def shared(alike: Sequence[Emitted]) -> dict[str, str]:
    """The texts of nests that differ in offsets alone, by their names."""
    offsets = [[found[2] for found in OFFSET.finditer(stage.text)] for stage in alike]
    columns = list(zip(*offsets, strict=True))  # an offset, as all nests have it
    different = list(dict.fromkeys(one for one in columns if len(set(one)) > 1))
    model = f"like.{stem(alike[0])}"
    found = {stage.name: calls(stage, model, [one[k] for one in different])
             for k, stage in enumerate(alike)}
    text = with_arguments(nameless(alike[0]), columns, different)
    first = re.sub(r"@nest(?=[.(])", f"@{model}", text)
    return {**found, alike[0].name: f"{first}\n\n{found[alike[0].name]}"}


def with_arguments(text: str, columns: Sequence[tuple[str, ...]],
                   different: Sequence[tuple[str, ...]]) -> str:
    """The functions of `text`, with the offsets that differ as arguments."""
    names = {one: f"%offset.{k}" for k, one in enumerate(different)}
    each = iter(columns)
    text = OFFSET.sub(lambda found: found[1] + names.get(one := next(each), one[0]), text)
    given = "".join(f", i64 {name}" for name in names.values())
    text = HEAD.sub(lambda found: f"define internal {found[1]}{given}", text)
    return CALL.sub(lambda found: found[1] + given, text)


def calls(stage: Emitted, model: str, offsets: Sequence[str]) -> str:
    """The functions of a nest that are called from outside, each as a call of the model's."""
    given = "".join(f", i64 {offset}" for offset in offsets)
    return "\n\n".join(
        "\n".join([f"define void @{name}(ptr %context, i64 %begin, i64 %end) {{", "entry:",
                   f"  call void @{model}{name[len(stem(stage)):]}("
                   f"ptr %context, i64 %begin, i64 %end{given})", "  ret void", "}"])
        for name in (stage.name, stage.finish) if name)
