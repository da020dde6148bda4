"""Three sentences: what to train, what it costs beside known models, how sure that is."""

from phonelm_search.core.units import format_count, format_difference
from phonelm_search.reading import Pick, StudyView, worth_of


def advise(view: StudyView, pick: Pick) -> tuple[str, str, str]:
    """What a study says to a person who has to decide.

    Args:
        view: The study.
        pick: Its pick.
    """
    shape = pick.row.shape
    return (
        f"Train {shape.label}, {format_count(shape.decoder_parameters)} decoder parameters "
        f"(feed-forward {shape.intermediate_size}, {shape.num_attention_heads} heads of "
        f"{shape.head_dim}, {shape.num_key_value_heads} for keys and values, {shape.hidden_act}): "
        f"{pick.why}.",
        _cost(view, pick),
        _certainty(view, pick),
    )


def _cost(view: StudyView, pick: Pick) -> str:
    row = pick.row
    latency, low, high = row.latency
    text = (
        f"It takes {latency:.3g} ({low:.3g} to {high:.3g}) of the time of {view.baseline} and has "
        f"{format_difference(*row.loss)} loss against it after "
        f"{format_count(view.train_tokens)} tokens"
    )
    found = worth_of(view, row)
    return f"{text}; {found.text}." if found and found.text else f"{text}."


def _certainty(view: StudyView, pick: Pick) -> str:
    if pick.provisional:
        return f"The pick is provisional: {'; '.join(pick.provisional)}."
    chance = view.front_probabilities.get(pick.row.shape.shape_id, 0.0)
    text = f"It belongs to the front with {chance:.0%} probability"
    if pick.equals:
        text += f"; as good, within 1 % on both axes: {pick.equal_text}"
    return f"{text}."
