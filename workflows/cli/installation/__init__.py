"""The objects that `argotune install` creates on a cluster, and `argotune uninstall` deletes."""
