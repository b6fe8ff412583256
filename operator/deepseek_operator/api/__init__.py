"""The custom resources: what a person writes, as types, as CRDs and as the planner's input."""
