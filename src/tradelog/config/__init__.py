"""tradelog.toml and the environment: read, checked, and handed out as frozen dataclasses."""
