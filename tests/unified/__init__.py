"""The built-in container on a host that has cgroup v2 alone: a virtual machine that this project's runtime boots."""
