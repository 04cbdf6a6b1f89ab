"""Provider aks: agent pools of an AKS cluster."""
