"""Displays of a record: tables, plots, pages."""
