"""Guides q(z | x, y) and q(weights), and the noise they are drawn with. May import models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
