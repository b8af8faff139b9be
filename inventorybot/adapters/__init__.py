"""Ports put into practice, one technology a file; each turns its technology's errors into BadEvent or TryLater.

kafka.py        publishing, topics, and reading a stretch of a log
cassandra/      the tables, and the stores that live in them
memory/         the same stores without a database, for unit tests; they pass the same contract suite
count_model.py  the count model, loaded: count_graph.py on CPUs (ONNX Runtime), count_torch.py on CUDA; backbones.py
registry.py     the releases of models (MLflow): registry_release.py a release, _artifacts.py its files, _mlflow.py the record,
                _news.py what running agents hear
blobs.py        referenced images
"""
