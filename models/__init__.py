"""Generative models p(y, z | x). Knows nothing of guides or inference.

Shapes, everywhere in the library: S draws of z, N data, K experts, D features.
What is public, and where it lives, stands in `__init__.pyi`; a name is imported when it is first
used, so that reading a spec does not wait for torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
