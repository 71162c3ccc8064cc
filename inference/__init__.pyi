from .budget import Budget as Budget
from .checkpoints import Checkpoints as Checkpoints
from .comparison import Comparison as Comparison, compare as compare
from .elbo import Treatment_ELBO as Treatment_ELBO
from .estimators import MoEClassifier as MoEClassifier, MoERegressor as MoERegressor
from .lab import Gradients as Gradients, gradients as gradients
from .log_files import LogFiles as LogFiles
from .netcdf import to_netcdf as to_netcdf
from .parameter_table import coefficients as coefficients
from .posterior import to_arviz as to_arviz, to_datatree as to_datatree
from .prediction import density as density, predict as predict
from .predictive import Moments as Moments, moments as moments
from .processes import Processes as Processes, joined as joined
from .result import Fit as Fit
from .schedule import Schedule as Schedule
from .selection import Selection as Selection, select as select
from .sharded import ShardedStep as ShardedStep
from .shards import Shards as Shards
from .step import Step as Step
from .svi import fit as fit
from .treatments import TREATMENTS as TREATMENTS
