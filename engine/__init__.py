"""Carries out a run: trainer, processes, run folder, resume, finders."""
