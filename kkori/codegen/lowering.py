"""From steps of a segment to the graph: one short rule a row of the op table.

`lower(program)` returns the graph's values of the program's slots, or None where a step has no
rule. The rules are in `lower_arrays` (movement, sums, products) and, as formulas, in
`lower_elements`, `lower_activations`, `lower_along` and `lower_losses`; this file brings them
together.
"""

from __future__ import annotations

from kkori.codegen import (
    lower_activations,
    lower_along,
    lower_arrays,
    lower_convolution,
    lower_elements,
    lower_losses,
    lower_pools,
    lower_tables,
)
from kkori.codegen.rules import (
    BY_ARRAY_RULE,
    LOWER,
    VARYING,
    NoRule,
    Program,
    Spec,
    Step,
    Term,
    formula,
    lower,
    rule,
)

__all__ = ["BY_ARRAY_RULE", "LOWER", "VARYING", "NoRule", "Program", "Spec", "Step", "Term",
           "formula", "lower", "lower_activations", "lower_along", "lower_arrays",
           "lower_convolution", "lower_elements", "lower_losses", "lower_pools", "lower_tables",
           "rule"]
