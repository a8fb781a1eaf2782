"""Pure functions from a symbolic model to a symbolic model, or to facts about it."""
