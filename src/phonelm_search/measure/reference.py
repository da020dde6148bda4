"""The fixed small shape that every round is held against, and the tiny one of the controls."""

from phonelm_search.core.shape import ModelShape

REFERENCE = ModelShape(
    hidden_size=1024,
    intermediate_size=3072,
    num_hidden_layers=2,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=64,
    vocab_size=8192,
    hidden_act="relu",
)
"""33M parameters in few, wide layers: small matrices would react to a change of the machine more
strongly than the shapes that are held against it."""

TINY = ModelShape(
    hidden_size=128,
    intermediate_size=256,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=64,
    vocab_size=128,
    hidden_act="relu",
)
"""Its step is nearly the loop alone; it also wakes the workers after a flush."""
