"""The wire contract: codec, bad input, fuzzing."""
