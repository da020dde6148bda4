"""The short-horizon training proxy: which shape learns more from the same tokens."""
