"""What people look at: printed tensors, summaries, and drawings of graphs and curves."""
