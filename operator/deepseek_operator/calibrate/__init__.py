"""Fitting predictions to measured runs and tables: the files; the mathematics is the planner's."""
