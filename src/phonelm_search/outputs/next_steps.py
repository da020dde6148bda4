"""What a person may do after reading a study, with the commands for it."""

from shlex import quote

from phonelm_search.reading import StudyView


def next_steps(view: StudyView) -> tuple[tuple[str, str], ...]:
    """What for, and the command."""
    study = quote(view.record.name)
    return (
        ("take the pick for training and deployment", f"phonelm-search export {study} -o winner"),
        ("see why it, or another shape", f"phonelm-search explain {study}"),
        ("measure more, where the front is open", _measuring(view)),
        ("train more, to tell losses apart", f"phonelm-search score {study} --minutes 30"),
        (
            "hold the law against a larger size than it has seen",
            f"phonelm-search score {study} --validate",
        ),
        (
            "measure these shapes on another phone",
            f"phonelm-search profile --study {study} --all --device DEVICE",
        ),
        ("then see what a pick here costs there", f"phonelm-search pareto {study} --regret"),
    )


def _measuring(view: StudyView) -> str:
    """The command that the study was last measured with: told again, it goes on."""
    config = view.record.config
    told = [str(c["command"]) for c in config.get("commands", ())]
    measuring = [c for c in told if c.startswith(("phonelm-search run", "phonelm-search search"))]
    if measuring:
        return measuring[-1]
    words = ["phonelm-search", "run", config["space"]["name"], "--study", view.record.name]
    for name in view.devices:
        words += ["--device", name]
    words += ["--scenario", str(view.scenario), "--minutes", "30"]
    return " ".join(map(quote, words))
