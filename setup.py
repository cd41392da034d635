"Packaging: all of it is read from settings.ini, so that everything is written once."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(interpolation=None)
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    keywords=cfg["keywords"],
    license="Apache-2.0",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: GIS",
        *[f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)],
    ],
    packages=find_packages(include=["insar_seg", "insar_seg.*"]),
    package_data={
        "insar_seg": [
            "*.csv",
            "*.json",
            "*.pyi",
            "py.typed",
            "weights/*",
            "weights/*/*",
            "templates/*",
        ]
    },
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require={
        "map": cfg["map_requirements"].split(),
        "dev": cfg["dev_requirements"].split(),
        "backends": cfg["backend_requirements"].split(),
        "tensorboard": ["tensorboard"],
    },
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']}=insar_seg._modidx:d"],
    },
    zip_safe=False,
)
