"""`altgrad completion bash`: a script that completes commands, settings and presets."""

import argparse
from collections.abc import Callable
from typing import Any

TEMPLATE = """\
# Use: eval "$(altgrad completion bash)"   (zsh: first `autoload bashcompinit; bashcompinit`)
_altgrad() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" group=""
    [ "$before" = "=" ] && group="${{COMP_WORDS[COMP_CWORD-2]}}"
    [ "$current" = "=" ] && group="$before" && current=""
    case "$group" in
{cases}
        *) if [ "$COMP_CWORD" -eq 1 ]; then
               COMPREPLY=($(compgen -W "{commands}" -- "$current"))
           elif [ -z "$group" ]; then
               compopt -o nospace
               COMPREPLY=($(compgen -S = -W "{settings}" -- "$current"))
           fi ;;
    esac
}}
complete -o default -F _altgrad altgrad
"""


def add_completion_command(
    commands: Any,
    add_command: Callable[..., argparse.ArgumentParser],
    presets: Callable[[], dict[str, list[str]]],
) -> None:
    """`presets()` gives group -> names."""

    def run(_: argparse.Namespace) -> None:
        print(bash_script(sorted(commands.choices), presets()), end="")

    parser = add_command(commands, "completion", run, "print a script for tab completion")
    parser.add_argument(
        "shell", choices=["bash"], nargs="?", default="bash", help="the shell (bash)"
    )


def bash_script(commands: list[str], presets: dict[str, list[str]]) -> str:
    """The script for these commands, presets and all settings."""
    from altgrad.training.config import all_setting_names

    cases = [
        f'        {group}) COMPREPLY=($(compgen -W "{" ".join(names)}" -- "$current")) ;;'
        for group, names in presets.items()
        if names
    ]
    settings = [*presets, *all_setting_names()]
    return TEMPLATE.format(
        cases="\n".join(cases), commands=" ".join(commands), settings=" ".join(settings)
    )
