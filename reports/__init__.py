"""The answers: each module reads a results file and renders it. None touches a live box."""
