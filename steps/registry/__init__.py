"""Container registries: names, logins and copies of images."""
