"""Create the weights of preset tiny."""
