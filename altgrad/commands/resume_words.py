"""`resume=auto` and `resume.allow=[max_steps]`: words about how to start, not settings of a run."""

from dataclasses import dataclass


@dataclass
class ResumeWords:
    """auto: continue the newest unfinished run. allow: settings that may differ from its own."""

    auto: bool = False
    allow: tuple[str, ...] = ()


def split_resume_words(overrides: list[str]) -> tuple[list[str], ResumeWords]:
    """The settings among the words, and what the others say about resuming."""
    rest, how = [], ResumeWords()
    for word in overrides:
        key, _, value = word.partition("=")
        if key == "resume.allow":
            names = value.removeprefix("[").removesuffix("]").split(",")
            how.allow = tuple(n.strip() for n in names if n.strip())
        elif key == "resume":
            if value not in ("auto", "never"):
                raise ValueError(f"resume={value!r} is not known. Allowed: auto, never.")
            how.auto = value == "auto"
        else:
            rest.append(word)
    return rest, how
