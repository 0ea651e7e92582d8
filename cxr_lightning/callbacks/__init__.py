"""What a run draws and writes while it trains and tests."""
