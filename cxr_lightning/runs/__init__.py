"""A run's folder: who may write to it, how far the run is, and files that are whole or not there."""
