"""Configuration: typed dataclasses (one field is one documented knob) and the YAML presets beside them."""

from gatewright.config.compose import list_presets, load_config
from gatewright.config.config import Config, from_dict, from_yaml, read_config, to_yaml
from gatewright.config.data import DataConfig
from gatewright.config.model import GateConfig, ModelConfig
from gatewright.config.rl import RLConfig
from gatewright.config.train import ParallelConfig, TrainConfig

__all__ = [
    "Config",
    "DataConfig",
    "GateConfig",
    "ModelConfig",
    "ParallelConfig",
    "RLConfig",
    "TrainConfig",
    "from_dict",
    "from_yaml",
    "list_presets",
    "load_config",
    "read_config",
    "to_yaml",
]
