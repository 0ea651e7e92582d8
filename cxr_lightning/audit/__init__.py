"""What in a data set misleads: leaks, duplicates, shortcuts, and how good nothing is."""
