"""Fits side by side: of several treatments, of several numbers of experts."""
