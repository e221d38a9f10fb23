"""Every table in one import: what migrations compare with and what a first start creates."""

from __future__ import annotations

from broker.audit.models import AuditHead, AuditRow
from broker.db import Base
from broker.groups.models import Group, Member
from broker.keys.models import Credential
from broker.marks import Mark
from broker.nodes.models import Node
from broker.outbox import OutboxRow
from broker.quotas.models import Limit, UsageSnapshot
from broker.roots.models import Root, RootGrant
from broker.shares.models import Share
from broker.users.models import User
from broker.workspaces.models import Upload, Workspace, WorkspaceName

metadata = Base.metadata

__all__ = [
    "AuditHead",
    "AuditRow",
    "Credential",
    "Group",
    "Limit",
    "Mark",
    "Member",
    "Node",
    "OutboxRow",
    "Root",
    "RootGrant",
    "Share",
    "Upload",
    "UsageSnapshot",
    "User",
    "Workspace",
    "WorkspaceName",
    "metadata",
]
