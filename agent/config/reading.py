"""The text of the file."""

from pathlib import Path

from agent.errors import ConfigError


def text_of(path: Path, errors: str = "strict") -> str:
    """All of it; `errors` as for `str.decode`. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8", errors=errors)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name the configuration with --config FILE") from None
    except PermissionError as error:
        advice = "give the command as the agent's user: sudo -u chargepoint-agent chargepoint-agent …"
        raise ConfigError(f"{path}: may not be read by this user; {advice}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error
