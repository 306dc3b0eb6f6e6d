"""The examples are experiments, loaded by their path: pytest collects their test alone."""

collect_ignore_glob = ["digits.py", "diffusion.py", "gan.py", "policy.py", "segmentation.py", "two_inputs.py"]
