"""What is drawn or written during a run."""
