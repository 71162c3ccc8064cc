from .inference.scikit_learn.estimators import (
    MoEClassifier as MoEClassifier,
    MoERegressor as MoERegressor,
)

__version__: str
