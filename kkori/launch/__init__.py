"""What `kkori run` does: scripts as Python runs them, notebooks cell by cell, pictures kept."""
