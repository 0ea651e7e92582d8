"""What joins runs: their plan, launcher, search, tables, statistics and report."""
