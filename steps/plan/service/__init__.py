"""Plan a service without training: its adapters, its memory, and its machine."""
