"""A run's folder: who may write to it, how far the run is, and how files are written."""
