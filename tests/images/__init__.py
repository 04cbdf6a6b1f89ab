"""Tests of images/, without a builder."""
