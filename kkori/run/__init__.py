"""How operations are run: now, on arrays; and rounds of hot loops as one call of machine code.

The map of this folder is in docs/design.md, "Hot loops".
"""
