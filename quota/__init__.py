"""The contract between the planes: live state in Redis, decided by Lua scripts, one verb a file.

The control plane uses `LiveState`, `epoch` and `calls`; the data plane `Gate` and `Lease`. Nothing here imports
anything else of ours.
"""

from quota.answers import Admitted, Denial, DenialCode, Outcome, Permission, Route, Settlement
from quota.ids import new_access_key_id, new_hold, new_id, new_secret, new_session_token
from quota.layout import Layout
from quota.live import Acks, LiveState, LiveStateError, NotReady
from quota.records import Change
from quota.sealing import Sealer, SealError
from quota.settings import LiveSettings

__all__ = [
    "Acks",
    "Admitted",
    "Change",
    "Denial",
    "DenialCode",
    "Layout",
    "LiveSettings",
    "LiveState",
    "LiveStateError",
    "NotReady",
    "Outcome",
    "Permission",
    "Route",
    "SealError",
    "Sealer",
    "Settlement",
    "new_access_key_id",
    "new_hold",
    "new_id",
    "new_secret",
    "new_session_token",
]
