"""The HTML report's templates."""
