from .inference.estimators import MoEClassifier as MoEClassifier, MoERegressor as MoERegressor

__version__: str
