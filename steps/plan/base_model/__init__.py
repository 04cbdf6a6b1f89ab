"""From the name of a base model to its preset: argotune's, one's own, or made of its files."""
