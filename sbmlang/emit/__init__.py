"""From symbolic expressions to the text of array programs."""
