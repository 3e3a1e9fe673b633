"""The use cases: where the workspace meets the engine."""
