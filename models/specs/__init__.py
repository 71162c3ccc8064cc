"""Specifications: what may be written in them, and where each setting stands."""
