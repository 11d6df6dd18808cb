"""The questions: each module asks one of every box alike, and never names a runtime."""
