"""The parts of a run, in the order in which they run."""
