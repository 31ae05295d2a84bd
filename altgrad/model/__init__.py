"""The network: one GPT assembled from named parts."""

from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig, preset, preset_names
from altgrad.model.gpt import GPT
from altgrad.model.own_gpt import OwnGPT
from altgrad.model.regions import compile_network

__all__ = ["GPT", "GPTConfig", "KVCache", "OwnGPT", "compile_network", "preset", "preset_names"]
