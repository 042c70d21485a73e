"""Memory that a tape relies on: what guards remember, and what steps overwrite.

Where NumPy code is shown other memory, such as a loss for a plot, guards need not look again.
"""

from __future__ import annotations

from typing import Any

from kkori.core.storage import root_of
from kkori.run.entry import Known

__all__ = ["relies_on"]


def relies_on(tape: Any, array: Any) -> bool:
    """Whether `array` shows memory that guards or updates of `tape` remember."""
    root = id(root_of(array))
    if tape.relies[:2] != (tape.admitted, len(tape.known)):
        tape.relies = tape.admitted, len(tape.known), *all_of(tape)
    _, _, roots, updates = tape.relies
    return root in roots or any(root in update.roots for update in updates)


def all_of(tape: Any) -> tuple[set[int], list[Any]]:
    """The memory that guards remember, by its owners' ids, and what knows of other memory."""
    guards = [known for known in tape.known if isinstance(known, Known)]
    updates = [known for known in tape.known if hasattr(known, "roots")]
    return {id(root_of(known.held())) for known in guards}, updates
