"""Measures of how alike the next-token distributions of two paths are. One file is one measure."""
