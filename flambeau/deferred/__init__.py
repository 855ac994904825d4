"""Programs of operators that have not run yet: their text, their plans, and running them."""
