"""The table of speed reads what its scripts print; lines as they were printed once."""

import importlib.util
from pathlib import Path

PATH = Path(__file__).parents[1] / "benchmarks" / "table.py"
OUTPUTS = {
    "time_to_loss": """the default
seed     to_target_s       train_s         steps
1              39.5          41.2           460
2               inf          41.9           460
median of training to validation loss 1.47: 39.5 s (0.44 x 90 s)""",
    "start": """first step, cold: 21.3 s, 8.4 x import torch
first step, warm: 5.1 s, 2.0 x import torch""",
    "compiling": """torch 2.13.0+cpu, 2 threads
regional  cold  wall   12.1 s  python    6.2 s  compilers   17.0 s
regional  warm  wall    1.4 s  python    1.2 s  compilers    0.6 s
whole     cold  wall   24.0 s  python   12.2 s  compilers   23.0 s
whole     warm  wall    7.4 s  python    5.2 s  compilers    0.6 s
cold, regional / whole: wall 0.50, python 0.51, compilers 0.74
a step, processor time, median of 20: regional 182.1 ms, … regional / whole 1.007 x""",
    "throughput": """
readme    float32  altgrad, eager      19,667 tokens/s      505 MiB peak   0.90 x
readme    float32  altgrad             18,996 tokens/s      612 MiB peak   0.87 x
readme    float32  altgrad / loop, compiled: 0.89 x
larger   bfloat16  altgrad             19,680 tokens/s      849 MiB peak   1.39 x""",
    "instruments": """| | eager: ms | ratio | compiled: ms | ratio |
| e5m2 + diagnostics (to e5m2) | 28.0 | 1.04 | 21.0 | 1.11 |
| e5m2 + shadow every step (to e5m2) | 58.0 | 1.95 | 41.0 | 2.00 |""",
    "rounding": """| altgrad e4m3 per tensor | 3.8 | 35.4 | 1.47 | 3.2 | 42.2 | 1.38 |
| altgrad e4m3 per tensor, counted | 3.8 | 35.4 | 1.97 | 3.2 | 42.2 | 1.98 |""",
}
REACHED = {
    "time_to_loss": ["39.5 s (39.5, inf)"],
    "start": ["5.1 s (21.3 s)"],
    "compiling": ["12.1 s (24.0 s)", "1.4 s (7.4 s)", "1.007 x"],
    "throughput": ["18,996 tokens/s, 0.87 x", "19,680 tokens/s, 1.39 x", "19,667 tokens/s, 0.90 x"],
    "instruments": ["eager 1.04, compiled 1.11", "eager 1.95, compiled 2.00"],
    "rounding": ["1.47, 1.38 copies (1 thread, all)"],
}


def test_every_scripts_figures_are_read():
    spec = importlib.util.spec_from_file_location("table", PATH)
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    assert list(table.ROWS) == list(OUTPUTS)
    for name, row in table.ROWS.items():
        reached = [figure.reached for figure in row.read(OUTPUTS[name]) if figure.reached]
        assert reached == REACHED[name]
        assert (PATH.parent / row.words[0]).is_file()
