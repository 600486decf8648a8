"""A trained model in other forms: for programs without Keras, and for people without a program."""
