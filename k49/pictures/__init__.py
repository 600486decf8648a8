"""From a picture file to ink, and from ink to an image as networks read them."""
