"""The imperative shell: observe, plan, choose moves, take one step, report."""
