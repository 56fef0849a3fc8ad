"""Packaging. One line per direct dependency says why it is here."""

from setuptools import find_packages, setup

INSTALL_REQUIRES = [
    "tensorflow>=2.21,<2.22",  # training, the SavedModel and its loader
    "keras>=3.12,<4",  # layers and fit, the default mode
    "tf-keras>=2.21,<2.22",  # Keras 2, which tensorflow-recommenders needs
    "tensorflow-recommenders>=0.7.7,<0.8",  # its Ranking task and Model, in Keras 2 mode
    "tensorflow-serving-api>=2.21,<2.22",  # the protocol: stubs and messages of TF Serving
    "apache-beam>=2.77,<3",  # the preprocessing job and its runners
    "pyarrow>=18",  # CSV, JSON Lines and Parquet readers; columns inside the Beam job
    "numpy>=2,<3",  # the plan's weights and its interpreter
    "pydantic>=2.9,<3",  # validates the user's YAML
    "pyyaml>=6",  # reads it
    "grpcio>=1.66",  # the client and the local server
    "google-crc32c>=1.5",  # checksums of TFRecord frames, without TensorFlow in the workers
    "isal>=1.6",  # gzip five times faster than zlib, in the workers
    "cityhash>=0.4.7",  # FarmHash fingerprints: the workers hash as TensorFlow's ops do
    "click>=8.1",  # the command line
    "rich>=13",  # progress bars and tables in a terminal
    "matplotlib>=3.9",  # pictures of masks, gates and plans
    "tensorboard>=2.20",  # reads the logs that training writes
]

EXTRAS_REQUIRE = {
    "dev": [
        "pytest>=8.3",  # runs the tests
        "pytest-timeout>=2.3",  # a test that hangs fails, and shows where
        "pytest-xdist>=3.6",  # test files side by side
        "hypothesis>=6.115",  # properties over random input
        "scikit-learn>=1.6",  # an outside reference for AUC and logloss
        "ruff>=0.12",  # format and lint
        "mypy>=1.15",  # types of schema, inference and serving
        "types-PyYAML",  # stubs for mypy
        "types-protobuf",  # stubs for mypy
        "grpc-stubs",  # stubs for mypy
        "pre-commit>=4",  # runs ruff and mypy before a commit
    ],
}

with open("README.md", encoding="utf-8") as readme:
    LONG_DESCRIPTION = readme.read()

setup(
    name="mtl_tf",
    version="0.1.0",
    description="Multi-task ranking for TensorFlow that learns what to share, and serves only that",
    long_description=LONG_DESCRIPTION,
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["mtl_tf*", "pipelines*", "serving*"]),
    package_data={"mtl_tf": ["py.typed", "configs/*.yaml"]},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={"console_scripts": ["mtl-tf=mtl_tf.cli:main"]},
)
