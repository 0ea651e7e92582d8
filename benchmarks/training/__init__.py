"""Seconds an image in steady training: one module a contender, each in its users' own idiom."""
