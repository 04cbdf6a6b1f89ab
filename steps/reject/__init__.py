"""Record that an adapter was rejected, by the gate or by a person."""
