"""What is shown of a record: tables, plots, pages."""
