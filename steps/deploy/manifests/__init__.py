"""The Kubernetes objects of an inference service: functions from parameters to manifests."""
