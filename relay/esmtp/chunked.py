"""Messages in chunks, as a server takes them: BDAT, what it leads to and what refuses it (machine).

RFC 3030. A chunk follows its command without waiting for a reply, so it is read whatever becomes of the command:
into the message, or to nowhere. A message that has lost one chunk is lost as a whole, and what may be pipelined
behind it with it, up to its last chunk or to a reset. Where it can't be known how much follows, or where it is too
much, the session ends.
"""

from __future__ import annotations

from relay.esmtp import commands
from relay.esmtp.chunks import read_chunk
from relay.esmtp.commands import COMMANDS, HAPPENINGS, MOVES, State
from relay.esmtp.dialog import Dialog
from relay.esmtp.message_input import ChunkInput, SkippedChunk
from relay.esmtp.questions import BodyPiece, DataAsked, MessageSpoiled, Transfer
from relay.mail import reply as replies
from relay.mail.reply import Reply


class ChunkedTransfer:
    """What is done about BDAT in one session."""

    def __init__(self, dialog: Dialog) -> None:
        self._dialog = dialog

    def command(self, argument: str, line: bytes, refused_last: bool) -> None:
        if "CHUNKING" not in self._dialog.standing.offers:
            # The chunk comes without waiting for a reply. As it is not to be read as commands, the session ends.
            self._dialog.tell("BDAT when not advertised", line)
            self._dialog.reply(replies.BDAT_NOT_ADVERTISED)
            self._dialog.hang_up("BDAT when not advertised")
            return
        chunk = read_chunk(argument)
        if chunk is None:
            # Nor is it here, where nobody can say how long it is.
            self._dialog.tell("BDAT without a size", line)
            self._dialog.reply(replies.BAD_CHUNK_SIZE)
            self._dialog.hang_up("BDAT without a size")
            return
        self._dialog.chunk = chunk
        if "BDAT" not in MOVES[self._dialog.state]:
            reply, what = self._dialog.refusal_now("BDAT", refused_last)
            self.skip(reply, what, line)
        elif not chunk.is_well_formed:
            self.skip(replies.BAD_ARGUMENTS, "malformed BDAT", line)
        elif self._dialog.message is None:
            self._dialog.ask(DataAsked(Transfer.CHUNKS))
        elif chunk.size or chunk.is_last:
            self.begin(self._dialog.message)
        else:
            self.skip(replies.ZERO_CHUNK, "BDAT 0", line)

    def begin(self, message: ChunkInput) -> None:
        self._dialog.state = MOVES[self._dialog.state]["BDAT"]
        message.begin(self._dialog.chunk)
        if message.is_beyond_bound:
            self._dialog.refuse_all(replies.MESSAGE_TOO_BIG)
        else:
            self._dialog.expect(message)

    def end(self, message: ChunkInput) -> None:
        if self._dialog.is_out_of_sync(COMMANDS["RSET"]):
            # Without PIPELINING the next command waits for the reply to this one.
            self._dialog.lose_sync(b"BDAT")
        elif self._dialog.chunk.is_last:
            if tail := message.end():
                self._dialog.events.append(BodyPiece(tail))
            self._dialog.end_message(message)
        elif message.fault is not None:
            self._spoil(self._dialog.refusal_of(message.fault))
        else:
            self._dialog.state = HAPPENINGS[self._dialog.state][commands.END_OF_CHUNK]
            received = replies.CHUNK_RECEIVED
            self._dialog.reply(received.with_text(f"{self._dialog.chunk.size} {received.text}"))

    def skip(self, reply: Reply, what: str = "", line: bytes = b"") -> None:
        if self._dialog.chunk.size > self._dialog.settings.wasted_limit:
            self._dialog.refuse_all(reply)
        else:
            self._dialog.expect(SkippedChunk(self._dialog.chunk, reply, what, line))

    def end_skipped(self, skipped: SkippedChunk) -> None:
        is_in_message = "BDAT" in MOVES[self._dialog.state]
        if skipped.what:
            self._dialog.complain(skipped.reply, skipped.what, skipped.line)
        else:
            self._dialog.reply(skipped.reply)
        if self._dialog.state is State.CLOSED:
            return
        if self._dialog.state is State.SPOILED and self._dialog.chunk.is_last:
            self._dialog.end_transaction()
        elif is_in_message and not self._dialog.chunk.is_last:
            # Whatever chunks follow, they are no message without this one.
            self.mark_spoiled(skipped.reply)

    def _spoil(self, reply: Reply) -> None:
        self._dialog.reply(reply)
        self.mark_spoiled(reply)

    def mark_spoiled(self, reply: Reply) -> None:
        self._dialog.message = None
        self._dialog.state = State.SPOILED
        self._dialog.events.append(MessageSpoiled(reply))
