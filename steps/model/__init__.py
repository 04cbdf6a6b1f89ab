"""Download the base model's weights into the cache, once per revision, and verify them."""
