"""The hub over HTTP. It knows `upkeep`, and neither Dagster nor the command line."""
