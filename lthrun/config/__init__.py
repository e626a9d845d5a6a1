"""YAML to typed models, and messages about them. The defaults are the Pets experiment."""
