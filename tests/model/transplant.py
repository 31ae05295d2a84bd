"""transformers' models with the weights of one of ours: the outside oracle of this folder."""

import torch
from torch import nn

from altgrad.model import GPT


def gpt2_twin(ours: GPT) -> nn.Module:
    """A GPT2LMHeadModel computing the same function; its Conv1D holds transposed matrices."""
    from transformers import GPT2Config, GPT2LMHeadModel

    c = ours.config
    sizes = {"vocab_size": c.vocab_size, "n_positions": c.block_size, "n_embd": c.n_embd}
    depth = {"n_layer": c.n_layer, "n_head": c.n_head}
    theirs = GPT2LMHeadModel(GPT2Config(**sizes, **depth))
    state = ours.state_dict()
    renamed = {k: v for k, v in state.items() if ".attn.c_" not in k and ".mlp." not in k}
    for i in range(c.n_layer):
        h = f"transformer.h.{i}"
        for kind in ("weight", "bias"):
            qkv = torch.cat([state[f"{h}.attn.c_{letter}.{kind}"] for letter in "qkv"])
            renamed[f"{h}.attn.c_attn.{kind}"] = _conv1d(qkv)
            for name in ("attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
                renamed[f"{h}.{name}.{kind}"] = _conv1d(state[f"{h}.{name}.{kind}"])
    theirs.load_state_dict(renamed)
    return theirs


def _conv1d(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.mT if tensor.dim() == 2 else tensor


LLAMA_NAMES = {
    "transformer.wte": "model.embed_tokens",
    "transformer.ln_f": "model.norm",
    "transformer.h": "model.layers",
    "ln_1": "input_layernorm",
    "ln_2": "post_attention_layernorm",
    "attn.c_proj": "self_attn.o_proj",
    "attn.c_": "self_attn.",
    "mlp.c_gate": "mlp.gate_proj",
    "mlp.c_fc": "mlp.up_proj",
    "mlp.c_proj": "mlp.down_proj",
}


def llama_twin(ours: GPT) -> nn.Module:
    """A LlamaForCausalLM with the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    c = ours.config
    config = LlamaConfig(
        vocab_size=c.vocab_size,
        hidden_size=c.n_embd,
        intermediate_size=ours.transformer.h[0].mlp.c_fc.out_features,
        num_hidden_layers=c.n_layer,
        num_attention_heads=c.n_head,
        num_key_value_heads=c.n_kv_head,
        max_position_embeddings=c.block_size,
        rms_norm_eps=c.norm_eps,
        tie_word_embeddings=False,
    )
    theirs = LlamaForCausalLM(config)
    theirs.load_state_dict({_llama_name(k): v for k, v in ours.state_dict().items()})
    return theirs


def _llama_name(name: str) -> str:
    for ours, theirs in LLAMA_NAMES.items():
        name = name.replace(ours, theirs)
    for letter in "qkv":
        name = name.replace(f"self_attn.{letter}.", f"self_attn.{letter}_proj.")
    return name
