"""What a configuration may say: keys, types, ranges, names, and checks of several values together."""
