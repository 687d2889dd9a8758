"""What is kept of a draft until it is approved, as the bytes of a store's row."""

from __future__ import annotations

import msgspec

from consent.drafting import DraftedGrant
from gateway.protocol.claims import Role
from gateway.protocol.subjects import IdType, Subject


class DraftContent(msgspec.Struct, frozen=True):
    """A drafted grant with whose it is. Holds salts and a child's name: it goes when the draft goes."""

    account_id: str
    child: tuple[IdType, str, str]
    payload: bytes
    disclosures: tuple[str, ...]
    salts: dict[Role, bytes]
    key_salt: bytes
    gateway: str
    status_list: int

    def __repr__(self) -> str:
        """Nothing of a person."""
        return "DraftContent(…)"

    @property
    def child_subject(self) -> Subject:
        """The child, as enrolled."""
        return Subject(*self.child)


def write_content(account_id: str, child: Subject, drafted: DraftedGrant, *, gateway: str, status_list: int) -> bytes:
    """The bytes of a draft."""
    content = DraftContent(
        account_id=account_id,
        child=(child.id_type, child.id_number, child.name),
        payload=drafted.payload,
        disclosures=drafted.disclosures,
        salts=dict(drafted.salts),
        key_salt=drafted.key_salt,
        gateway=gateway,
        status_list=status_list,
    )
    return msgspec.msgpack.encode(content)


def read_content(data: bytes) -> DraftContent:
    """The draft of bytes that `write_content` made."""
    return msgspec.msgpack.decode(data, type=DraftContent)
