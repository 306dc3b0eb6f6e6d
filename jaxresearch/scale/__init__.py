"""Training at scale: mixed precision, summaries and plans of training steps. The core imports none of it."""
