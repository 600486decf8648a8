"""All pictures, in one style."""
