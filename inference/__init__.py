"""Treatments of z, the ELBO that applies them, fitting and comparing. May import the others."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
