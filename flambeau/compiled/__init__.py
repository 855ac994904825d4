"""What ``flambeau.compile`` makes of a function: calls that are repeated, the proof that they may be, explanations."""
