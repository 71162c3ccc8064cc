from .amortised import AmortisedGuide as AmortisedGuide
from .categorical import expectation as expectation, log_prob as log_prob, one_hot as one_hot
from .drawn import DrawnGuide as DrawnGuide
from .gaussian import WEIGHT_GUIDES as WEIGHT_GUIDES, WeightGuide as WeightGuide
from .laplace import LaplaceGuide as LaplaceGuide
from .noise import Noise as Noise, Seeded as Seeded
from .point import PointGuide as PointGuide
from .posterior import PosteriorGuide as PosteriorGuide
from .prior import PriorGuide as PriorGuide
from .relaxed import RelaxedOneHotCategorical as RelaxedOneHotCategorical
from .weighted import WeightedGuide as WeightedGuide
