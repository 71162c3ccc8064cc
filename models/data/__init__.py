"""From a table to tensors: what is learned from it, how rows are divided, streamed and encoded."""
