"""Benchmarks: they measure, nothing here asserts a speed."""
