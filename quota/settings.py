"""The settings that both planes share: where the live state is, and the deployment's secret."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class LiveSettings(BaseSettings):
    """Read from the environment, each field as `WIO_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="WIO_", frozen=True, extra="ignore")

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0", description="Redis, as redis://, rediss:// or unix://.", repr=False
    )
    realm: str = Field("wio", pattern=r"^[a-z0-9-]{1,32}$", description="Prefix of all keys in Redis.")
    secret: SecretStr = Field(SecretStr(""), description="The deployment's secret, 32 characters or more.")
    secret_file: Path | None = Field(None, description="A file that holds the secret instead.")
    region: str = Field("us-east-1", description="The region that clients sign for.")
    lease_seconds: float = Field(5.0, gt=0.2, le=60, description="How long a worker may run without Redis.")
    commit_seconds: float = Field(
        30.0, gt=0, le=3600, description="How long a node may still store what it has wholly received."
    )

    @model_validator(mode="after")
    def _read_secret_file(self) -> LiveSettings:
        if self.secret_file is not None:
            object.__setattr__(self, "secret", SecretStr(self.secret_file.read_text().strip()))
        if len(self.secret.get_secret_value()) < 32:
            raise ValueError("WIO_SECRET (or WIO_SECRET_FILE) needs at least 32 characters")
        return self
