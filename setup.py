"""Maps the folder src/ to the package omarl; every other setting stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    package_dir={"omarl": "src"},
    packages=["omarl", *("omarl." + name for name in find_packages("src"))],
)
