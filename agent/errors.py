"""What can break. A refusal, a timeout or a silent peer is no error but a value: see `agent.model.Outcome`.

AgentError
├── ConfigError        the configuration: file, key, and what was expected there
├── StoreError         a database of ours: it can't be opened, read or written
│   ├── CorruptError       its content makes no sense to SQLite
│   └── NewerSchemaError   a newer version of this program wrote it
├── DeviceError        a reader, relay or display: it can't be opened or does not answer
├── PeerError          a peer, where no tap is waiting: a list that can't be pulled
└── BusyError          somebody else is doing this right now
"""


class AgentError(Exception):
    """The root: what a command prints as one line, and the supervisor logs with its cause."""


class ConfigError(AgentError):
    """The configuration can't be used; the text names the file, the key and what was expected."""


class StoreError(AgentError):
    """A database can't be opened, read or written; nothing of the failed change is in it."""


class CorruptError(StoreError):
    """The file is no database any more, or a damaged one."""


class NewerSchemaError(StoreError):
    """The file was written by a newer version of this program, which alone may touch it."""


class DeviceError(AgentError):
    """A device is missing, is in use elsewhere, or stopped answering."""


class PeerError(AgentError):
    """A peer could not be used for work that no driver waits for."""


class BusyError(AgentError):
    """Another process holds what this one needs: the databases, or the right to synchronise."""
