"""A spooled record: the source messages that it answers for, before the message itself.

    0xC1 (no MessagePack value begins so) | length of the origins, u32 big | origins | message

A record without that byte is of a version before the ledger: it answers for nobody.
"""

import struct

import msgspec

from flowengine.message import Message, packer, unpacker

MARK = b"\xc1"
_HEAD = struct.Struct(">cI")
_encoder = packer()
_decoder = unpacker(Message)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, list[int]]).decode
_decode_entering = msgspec.msgpack.Decoder(tuple[dict[str, list[int]], bytes]).decode


def encode_record(message: Message) -> bytes:
    """A message with its origins; TypeError, ValueError or OverflowError if it is not storable."""
    origins = _encode(message.receipt.origins())
    return b"".join((_HEAD.pack(MARK, len(origins)), origins, _encoder.encode(message)))


def split_record(record: bytes) -> tuple[dict[str, list[int]], bytes]:
    """(origins, encoded message); ValueError if the origins cannot be read."""
    if record[:1] != MARK:
        return {}, record
    if len(record) < _HEAD.size:
        raise ValueError("the record is cut short")
    _, length = _HEAD.unpack_from(record)
    at = _HEAD.size + length
    return _decode(record[_HEAD.size : at]), record[at:]


def encode_entering(message: Message) -> bytes:
    """A message on its way into a state: what would come again for it, then its record."""
    return _encode((message.receipt.identity(), encode_record(message)))


def split_entering(data: bytes) -> tuple[dict[str, list[int]], bytes]:
    """(identity, record); ValueError if it cannot be read."""
    return _decode_entering(data)


def decode_message(encoded: bytes) -> Message:
    """A message read back, with nothing to settle; ValueError if it cannot be read."""
    return _decoder.decode(encoded)
