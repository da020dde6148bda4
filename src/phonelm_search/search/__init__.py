"""Ask/tell search over the feasible shapes of a space."""
