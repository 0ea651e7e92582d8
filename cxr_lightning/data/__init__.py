"""From files to batches: index, decode, store, splits, datamodule."""
