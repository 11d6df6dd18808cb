"""The built-in container: namespaces, cgroups and an overlay root, started by a small zygote."""
