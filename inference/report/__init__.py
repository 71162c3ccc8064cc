"""A directory of results as one HTML file that needs nothing but a browser."""
