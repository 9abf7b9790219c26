"""The reference environment server: the Environment API v1 in full, importing nothing of the console.

Started with `python -m environments.platform --name Development --port 8101 --data DIR`. The contract is in
docs/environment-api.md, and for machines in docs/environment-api-v1.yaml.
"""
