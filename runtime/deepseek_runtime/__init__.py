"""The engine pod: a LaunchSpec in, a metered, drainable vLLM out."""
