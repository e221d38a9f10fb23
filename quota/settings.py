"""The settings that both planes share: where the live state is, and the deployment's secret."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from quota.wire_address import WireAddress


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

    @field_validator("redis_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        try:
            WireAddress.parse(value)
        except OSError as error:
            raise ValueError(f"the file of authorities cannot be read: {error.strerror}") from None
        return value

    @model_validator(mode="after")
    def _read_secret_file(self) -> LiveSettings:
        if self.secret_file is not None:
            try:
                read = self.secret_file.read_text().strip()
            except (OSError, UnicodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is no text"
                raise ValueError(f"WIO_SECRET_FILE, {self.secret_file}, cannot be read: {why}") from None
            object.__setattr__(self, "secret", SecretStr(read))
        if len(self.secret.get_secret_value()) < 32:
            raise ValueError("WIO_SECRET (or WIO_SECRET_FILE) needs at least 32 characters")
        return self


def wrong_settings(error: ValidationError | SettingsError) -> str:
    """One sentence that names each setting that is not right and says why; never the value, which may be a secret."""
    if isinstance(error, SettingsError):
        name = next(iter(re.findall(r'field "(\w+)"', str(error))), "")
        return f"The settings are not right: WIO_{name.upper()} must be written as JSON."
    told: dict[str, None] = {}
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        why = problem["msg"].removeprefix("Value error, ")
        told[f"WIO_{str(problem['loc'][0]).upper()}: {why}" if problem["loc"] else why] = None
    return f"The settings are not right: {'; '.join(told)}."
