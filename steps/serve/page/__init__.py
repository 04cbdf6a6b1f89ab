"""The page at `/`: a chat in the browser, and the adapter's card."""
