"""Readers of the file formats: npz, IDX, tables, TensorFlow Datasets."""
