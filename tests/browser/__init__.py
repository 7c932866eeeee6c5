"""Pages and report opened in a real browser; `examples` holds the data they are designed against."""
