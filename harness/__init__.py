"""The centre: what is measured, in which order, and where the numbers go. It imports no runtime, scenario or report."""
