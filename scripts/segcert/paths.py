"""Where this project's own files are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "config" / "config.yaml"
SCHEMA = ROOT / "config" / "schema" / "config.schema.json"
