"""A study as one HTML file: summary, tables, interactive curves, health of the VAEs, commands."""
