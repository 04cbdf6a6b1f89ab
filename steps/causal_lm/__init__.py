"""The base model as torch has it: its device, its weights in 4 bits or more, its loss."""
