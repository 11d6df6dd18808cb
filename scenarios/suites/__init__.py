"""Built-in suites, one TOML file each."""
