"""What people look at: pages, charts, tables, galleries."""
