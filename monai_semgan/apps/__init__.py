"""Programs on top of the library. Each command module has `add_parser(subparsers)` and `run(args) -> int`."""

from .config_check import check_configuration
from .error_messages import show_input_errors
from .evaluation import DomainEvaluation
from .phantom import make_phantom, prepare_phantom

__all__ = ["DomainEvaluation", "check_configuration", "make_phantom", "prepare_phantom", "show_input_errors"]
