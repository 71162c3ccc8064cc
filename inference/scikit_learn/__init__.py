"""Mixtures as scikit-learn's estimators."""
