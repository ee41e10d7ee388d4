"""What runs on the device in Python: the standard library and YAML only, and never the tool itself."""
