"""Services other than Spark that we talk to, and the tables that keep what they said: the MLflow registry."""
