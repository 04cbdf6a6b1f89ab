"""Makes the weights of preset tiny."""
