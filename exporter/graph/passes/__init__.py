"""Graph passes, one in each file. Its docstring says what is given, what the result is and what it refuses."""
