from .errors import InputError as InputError
from .joint import LogJoint as LogJoint, log_joint as log_joint
from .mixture import MixtureOfExperts as MixtureOfExperts
from .networks import Networks as Networks
from .specs.spec import Spec as Spec
from .specs.spec_file import SpecFile as SpecFile, parse_spec as parse_spec, read_spec as read_spec
from .trace import latent_logits as latent_logits
