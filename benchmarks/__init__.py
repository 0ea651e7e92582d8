"""How fast it is, against what people would use instead: `python -m benchmarks --images DIR`."""
