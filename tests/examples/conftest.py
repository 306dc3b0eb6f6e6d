"""The examples are experiments, loaded by path: pytest collects only their tests."""

collect_ignore_glob = ["digits.py", "diffusion.py", "gan.py", "policy.py", "segmentation.py", "two_inputs.py"]
