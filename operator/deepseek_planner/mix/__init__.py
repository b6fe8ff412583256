"""The mixed-fleet search: fleets for all deployments of a cluster at once, and a proof of how good they are."""

from deepseek_planner.mix.solve import solve

__all__ = ["solve"]
