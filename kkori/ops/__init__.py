"""What tensors can do: the op table, one row an op."""
