"""The experiments that train: each compares a few arms on the common bench."""

from altgrad.learn.questions.bench import (
    Arm,
    LogitProbe,
    ScoreProbe,
    rescale_embedding,
    tie,
    zero_share,
)
from altgrad.learn.questions.finding import Bench, Experiment, Finding, compare


def untied(bench: Bench) -> Finding:
    return compare(
        bench.run(
            [
                Arm("untied"),
                Arm("tied with care (std 0.02, rate 0.004)", tune=tie(0.02), embedding_lr=0.004),
                Arm("tied, started at std 1", tune=tie(1.0), embedding_lr=0.004),
                Arm("tied, the embedding's rate 0.2", tune=tie(0.02)),
            ]
        )
    )


def mqa(bench: Bench) -> Finding:
    arms = [Arm(f"{k} key/value heads", {"n_kv_head": k}) for k in (4, 2, 1)]
    finding = compare(bench.run(arms))
    for row, k in zip(finding.rows, (4, 2, 1), strict=True):
        row["cache bytes per token (bf16)"] = 2 * 2 * 3 * k * 32
    return finding


def relu2(bench: Bench) -> Finding:
    share = zero_share(bench.tokens["val"])
    outside = "altgrad.learn.questions.bench:PlainReLU"
    return compare(
        bench.run(
            [
                Arm("relu²", measure=share),
                Arm("gelu", {"mlp": "gelu"}, measure=share),
                Arm("relu", {"mlp": outside}, measure=share),
            ]
        )
    )


def qk_norm(bench: Bench) -> Finding:
    probe = ScoreProbe(bench.tokens["val"])
    arms = [
        Arm(f"{word} QK-norm{note}", {"qk_norm": on}, matrix_lr=rate, measure=probe)
        for rate, note in ((0.02, ""), (0.2, ", rate × 10"))
        for on, word in ((True, "with"), (False, "without"))
    ]
    finding = compare(bench.run(arms))
    scores = {row["arm"]: row["largest score"] for row in finding.rows}
    finding.verdict += f"; largest scores: {', '.join(f'{k} {v:.1f}' for k, v in scores.items())}"
    return finding


def norm_after_embedding(bench: Bench) -> Finding:
    return compare(
        bench.run(
            [
                Arm(
                    f"{'with' if on else 'without'} norm, embedding std {std:g}",
                    {"embedding_norm": on},
                    steps=200,
                    tune=rescale_embedding(std),
                )
                for on in (True, False)
                for std in (1.0, 0.02, 10.0)
            ]
        )
    )


def softcap(bench: Bench) -> Finding:
    probe = LogitProbe(bench.tokens["val"])
    return compare(
        bench.run(
            [
                Arm(f"{word}{note}", {"logit_softcap": cap}, head_lr=rate, measure=probe)
                for rate, note in ((0.004, ""), (0.1, ", head's rate × 25"))
                for cap, word in ((15.0, "softcap 15"), (None, "no softcap"))
            ]
        )
    )


def embedding_optimizer(bench: Bench) -> Finding:
    by_muon = "altgrad.learn.questions.bench:muon_for_embedding"
    return compare(
        bench.run(
            [
                Arm("AdamW, rate 0.2"),
                Arm("AdamW, rate 0.02", embedding_lr=0.02),
                Arm("Muon, rate 0.02", optimizer=by_muon),
            ]
        )
    )


def no_bias(bench: Bench) -> Finding:
    return compare(bench.run([Arm("no bias"), Arm("with bias", {"bias": True})]))


TRAINED: dict[str, Experiment] = {
    "untied": untied,
    "mqa": mqa,
    "relu2": relu2,
    "qk-norm": qk_norm,
    "norm-after-embedding": norm_after_embedding,
    "softcap": softcap,
    "embedding-optimizer": embedding_optimizer,
    "no-bias": no_bias,
}
