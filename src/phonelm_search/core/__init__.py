"""Values and small tools: no input or output but YAML. Import its modules directly."""
