"""Pictures of fits, for axes that the caller has made: functions that draw, and return them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
