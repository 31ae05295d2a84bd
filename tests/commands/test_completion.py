"""The completion script, run by a real bash."""

import shutil
import subprocess

import pytest

from altgrad.cli import main


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["altgrad", "tr"], "train"),
        (["altgrad", "train", "model.n_la"], "model.n_layer="),
        (["altgrad", "train", "model", "=", "nano"], "nanochat"),
        (["altgrad", "train", "optim", "="], "adamw"),
    ],
)
def test_tab_completes_commands_settings_and_presets(capsys, words, expected):
    main(["completion", "bash"])
    script = capsys.readouterr().out
    quoted = " ".join(f"'{w}'" for w in words)
    tail = f"""
compopt() {{ :; }}
COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _altgrad; echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script + tail], capture_output=True, text=True)
    assert expected in done.stdout.split(), done.stderr
