"""What every step shares. Named modules only; nothing here knows a particular step."""
