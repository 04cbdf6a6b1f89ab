"""The providers of GPU nodes, shared by the steps provision, watch, release and gc."""
