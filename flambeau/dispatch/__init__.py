"""Calls of operators: the operator record, its public forms, and the way from a call to a kernel."""
