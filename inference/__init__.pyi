from .distributed.processes import Processes as Processes, joined as joined
from .distributed.sharded import ShardedStep as ShardedStep
from .distributed.shards import Shards as Shards
from .elbo import Treatment_ELBO as Treatment_ELBO
from .files.checkpoints import Checkpoints as Checkpoints
from .fitting.budget import Budget as Budget
from .fitting.result import Fit as Fit
from .fitting.schedule import Schedule as Schedule
from .lab.lab import Gradients as Gradients, gradients as gradients
from .posterior.parameter_table import coefficients as coefficients
from .posterior.posterior import to_arviz as to_arviz, to_datatree as to_datatree
from .posterior.prediction import density as density, predict as predict
from .posterior.predictive import Moments as Moments, moments as moments
from .runs.log_files import LogFiles as LogFiles
from .runs.netcdf import to_netcdf as to_netcdf
from .scikit_learn.estimators import MoEClassifier as MoEClassifier, MoERegressor as MoERegressor
from .selection.comparison import Comparison as Comparison, compare as compare
from .selection.selection import Selection as Selection, select as select
from .steps.step import Step as Step
from .svi import fit as fit
from .treatments import TREATMENTS as TREATMENTS
