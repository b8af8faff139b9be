"""History: the fold in numpy and in Spark, the lake, what is imported."""
