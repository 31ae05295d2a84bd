"""What other programs call a setting: where no name is like a wrong one, this says which is meant.

Words of nanoGPT, nanochat, Hugging Face's Trainer and configs, Lightning, PyTorch and papers.
"""

OTHER_WORDS = {
    "model.n_embd": "d_model hidden_size n_embed embed_dim embedding_dim emb_dim width dim hidden",
    "model.n_layer": "n_layers num_layers depth layers num_hidden_layers nlayer nlayers",
    "model.n_head": "n_heads num_heads heads num_attention_heads nhead nheads",
    "model.n_kv_head": "n_kv_heads num_kv_heads num_key_value_heads kv_heads",
    "model.block_size": "context_length context context_size ctx ctx_len n_ctx seq_len seq_length "
    "sequence_len sequence_length max_seq_len max_seq_length max_length n_positions "
    "max_position_embeddings",
    "model.n_inner": "d_ff d_inner ffn_dim mlp_dim intermediate_size hidden_dim",
    "model.mlp": "activation act hidden_act activation_function ffn feed_forward",
    "model.norm": "layer_norm layernorm rmsnorm normalization normalisation",
    "model.position": "pos pos_emb position_embedding positional_encoding rotary",
    "model.attention": "attn attn_implementation",
    "model.attention_backend": "flash flash_attention sdpa",
    "model.dropout": "attn_pdrop resid_pdrop embd_pdrop dropout_rate attention_dropout",
    "model.rope_base": "rope_theta rotary_base",
    "model.norm_eps": "layer_norm_eps rms_norm_eps layer_norm_epsilon",
    "model.tie_head": "tie_word_embeddings tie_embeddings weight_tying tie_weights tied",
    "model.windows": "window window_size sliding_window window_pattern",
    "model.logit_softcap": "softcap final_logit_softcapping",
    "model.vocab_size": "n_vocab vocab vocabulary_size",
    "data.batch_size": "batch bs batchsize micro_batch_size device_batch_size "
    "per_device_train_batch_size train_batch_size",
    "accumulation": "grad_accum gradient_accumulation gradient_accumulation_steps "
    "accumulate_grad_batches grad_accum_steps",
    "data.path": "file text train_file input text_file data_path dataset_path",
    "data.name": "dataset dataset_name corpus",
    "data.tokenizer": "tokenizer tokeniser tokenizer_name encoding",
    "data.workers": "num_workers n_workers",
    "optim.lr": "lr learning_rate step_size base_lr max_lr peak_lr",
    "optim.name": "optimizer optimiser opt optimizer_name",
    "optim.weight_decay": "wd decay l2",
    "optim.betas": "beta1 beta2 beta adam_beta1 adam_beta2",
    "optim.eps": "epsilon adam_epsilon",
    "optim.grad_clip": "clip clip_grad max_grad_norm gradient_clip gradient_clip_val "
    "grad_norm_clip",
    "optim.ema_decay": "ema ema_beta",
    "schedule.name": "scheduler lr_schedule lr_scheduler lr_scheduler_type",
    "schedule.warmup_steps": "warmup warmup_iters num_warmup_steps warmup_ratio lr_warmup",
    "schedule.min_lr_fraction": "min_lr final_lr final_lr_frac",
    "schedule.decay_fraction": "warmdown warmdown_ratio cooldown decay_frac",
    "max_steps": "epochs num_epochs n_epochs num_train_epochs max_epochs steps iterations iters "
    "max_iters num_iterations n_steps num_steps train_steps total_steps",
    "eval_interval": "eval_every eval_steps eval_iters val_every val_interval evaluate_every",
    "log_interval": "log_every logging_steps log_every_n_steps log_freq",
    "checkpoint_interval": "save_interval save_steps save_every checkpoint_every",
    "max_checkpoints": "save_total_limit keep_checkpoints",
    "run_dir": "out_dir output_dir log_dir save_dir logdir",
    "init_from": "resume_from resume_from_checkpoint checkpoint ckpt from_checkpoint pretrained "
    "model_name_or_path load_from",
    "precision.compute": "dtype amp bf16 fp16 mixed_precision torch_dtype autocast",
    "precision.format": "fp8 number_format quantization quant",
    "precision.storage_rounding": "stochastic_rounding",
    "shadow.enabled": "shadow fp32_shadow",
    "compile": "torch_compile jit",
    "devices": "gpus num_gpus n_gpus world_size nproc_per_node",
    "strategy": "ddp fsdp parallel distributed",
    "device": "accelerator",
    "seed": "random_seed rng_seed manual_seed",
    "sample_tokens": "max_new_tokens",
    "tracker.names": "logger loggers report_to tracker wandb_log",
    "tracker.project": "wandb_project project_name",
}
"""Full name of a setting -> the other words for it."""

MEANING = {word: name for name, words in OTHER_WORDS.items() for word in words.split()}

OF_COMPARISONS = {
    **dict.fromkeys(
        ("seeds", "jobs", "runs", "tune", "delta", "design", "launcher", "primary"),
        " It is for `altgrad compare`, which makes several runs.",
    ),
    "threads": " It is for `altgrad compare`; for one run type OMP_NUM_THREADS=1 in front.",
}
"""Arguments that one run does not have -> what to say of them."""

IN_STEPS = (
    " (in steps: a pass over the tokens is tokens / (batch_size * accumulation * block_size))"
)
"""Said of words that count passes over the data, which altgrad does not."""


def meant(word: str) -> tuple[str, str]:
    """The setting that another program's word means, and a remark; empty where none is known."""
    leaf = word.rpartition(".")[2].lower().replace("-", "_")
    return MEANING.get(leaf, ""), IN_STEPS if "epoch" in leaf else ""
