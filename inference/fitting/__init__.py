"""A fit from its spec to its result: what is built, stepped, watched and measured."""
