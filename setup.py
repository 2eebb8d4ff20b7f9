"""Install DenseSSL as a library: ``pip install -e .`` beside an existing torch and detectron2."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
PACKAGES = "projects/DenseSSL"

setup(
    name="dense-ssl",
    version="0.1.0",
    description="Self-supervised pre-training of object detectors, as a detectron2 project",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9",
    package_dir={"": PACKAGES},
    packages=find_packages(PACKAGES, include=["dense_ssl", "dense_ssl.*"]),
    # torch, torchvision and detectron2 are the user's: builds differ by platform, and detectron2
    # has no package of its own name. `import dense_ssl` says how to get what is missing.
    install_requires=[
        "numpy>=1.21",
        "Pillow>=9.1",
        "fvcore>=0.1.5.post20221221",
        "iopath>=0.1.7,<0.1.11",
        "pycocotools>=2.0.2",
        "matplotlib",
        "tqdm>4.29",
    ],
    extras_require={
        # Not a plain requirement: opencv-python and opencv-python-headless overwrite each other.
        "opencv": ["opencv-python-headless>=4.5"],
        "lars": ["timm>=1.0.9"],
        "timm": ["timm>=1.0.9"],
        "probe": ["scikit-learn"],
        "compare": ["pandas>=2.2", "scipy"],
        "cityscapes": ["cityscapesscripts>=2.2", "shapely>=2.0"],
        "weights": ["safetensors"],
        "dev": [
            "pytest",
            "pytest-xdist",
            "ruff",
            "scipy",
            "scikit-learn",
            "pandas>=2.2",
            "POT",
            "tensorboard",
            "timm>=1.0.9",
            "safetensors",
        ],
        "benchmarks": ["lightly==1.6.0"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
