"""Install DenseSSL as a library, beside an existing torch and detectron2 (docs/install.md)."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PACKAGES = "projects/DenseSSL"


class BuildWithConfigs(build_py):
    """Copies configs/ into the package, for ``dense_ssl.get_config`` without a checkout.

    After ``pip install -e`` it reads those of the checkout.
    """

    def run(self):
        super().run()
        if not getattr(self, "editable_mode", False):
            target = Path(self.build_lib, "dense_ssl", "configs")
            shutil.copytree(ROOT / "configs", target, dirs_exist_ok=True)


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
    package_data={"dense_ssl.reports.html": ["assets/*"]},
    cmdclass={"build_py": BuildWithConfigs},
    # torch, torchvision and detectron2 are the user's: builds differ by platform, and detectron2
    # has no package of its own name. `import dense_ssl` says how to get what is missing.
    install_requires=[
        "numpy>=1.21",
        "Pillow>=9.1",
        "fvcore>=0.1.5.post20221221",
        "iopath>=0.1.7,<0.1.11",
        "pycocotools>=2.0.2,!=2.0.9,!=2.0.10",
        "matplotlib",
        "tqdm>4.29",
        "packaging",
        "tabulate",
        # The report of a run: templates (torch needs jinja2 too) and charts.
        "jinja2",
        "plotly>=5.24",
    ],
    # What each is for: docs/install.md.
    extras_require={
        # Not a plain requirement: opencv-python and opencv-python-headless overwrite each other.
        "opencv": ["opencv-python-headless>=4.5"],
        "timm": ["timm>=1.0.9"],
        "lars": ["timm>=1.0.9"],
        "weights": ["safetensors"],
        "wandb": ["wandb"],
        "mlflow": ["mlflow"],
        "cityscapes": ["cityscapesscripts>=2.2", "shapely>=2.0"],
        "probe": ["scikit-learn"],
        "compare": ["pandas>=2.2", "scipy"],
        "shards": ["braceexpand"],
        "export": ["onnx", "onnxruntime"],
        "logging": ["tensorboard", "wandb", "mlflow"],
        "dev": [
            "pytest",
            "pytest-xdist",
            "playwright",
            "hypothesis",
            "ruff",
            "scipy",
            "scikit-learn",
            "pandas>=2.2",
            "POT",
            "braceexpand",
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
