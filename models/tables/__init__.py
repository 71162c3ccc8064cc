"""Tables as they lie in files: whole or block by block, column by column, nothing yet encoded."""
