"""What `explore.py` looks at before training: a file a topic, each with a function `look`."""
