"""How well can pictures of clothes be classified while each training image is protected by an epsilon of 3?

    jaxresearch run private_fashion                            a folder fashion-mnist with its four files in the current one
    jaxresearch run private_fashion --data tfds:fashion_mnist  the same images from TensorFlow Datasets

The classifier of private_mnist, of scattering coefficients of the images as they are: making clothes upright does harm.
Fashion-MNIST (Xiao et al., 2017, https://arxiv.org/abs/1708.07747, MIT licence) is at
https://github.com/zalandoresearch/fashion-mnist and in Debian's package dataset-fashion-mnist. Tramèr and Boneh (2021,
https://arxiv.org/abs/2011.11660) report 89.7 %. Expect 89.84 % (89.55 to 90.13, over five seeds). Two CPU cores, half an hour.
"""

import dataclasses
from pathlib import Path

from jaxresearch.fields import images
from jaxresearch.loading import load
from jaxresearch.statistics import Claim

experiment = dataclasses.replace(
    load("private_mnist", directory=Path(__file__).parent),
    question="How well can pictures of clothes be classified while each training image is protected by an epsilon of 3?",
    claim=Claim(text="89.7 % test accuracy", metric="test/accuracy", about="these examples", at_least=0.897),
    source="fashion-mnist",
    preprocess=images.scattered(),
)
