"""Loggers besides the run's folder: W&B, MLflow and MongoDB. Nothing here is imported until a run asks for one."""
