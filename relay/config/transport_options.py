"""The options of transports: those that every transport has, and those of each driver (values).

Names, types and defaults: Exim, chapters "Generic options for transports" and those of the drivers.
"""

from __future__ import annotations

from collections.abc import Mapping

from relay.config.options import Kind, Option, OptionTable, Repeat, Standing, explained, listed, table
from relay.config.smtp_options import SMTP

_IGNORED, _UNSUPPORTED = Standing.IGNORED, Standing.UNSUPPORTED
_NOT_YET = "without it other mail would be delivered, or otherwise"
_NO_EFFECT = "nothing here depends on it"
_NOT_SERVED = "the driver is not served yet"

TRANSPORTS: OptionTable = table(
    Option("driver", Kind.STRING, None, "What kind of transport it is.", "transport"),
    *explained("transport", """
        body_only             boolean   false : Deliver the body without the header (not smtp).
        current_directory     expanded        : Directory that a local delivery runs in; where unset, the home.
        delivery_date_add     boolean   false : Add Delivery-date: on delivery.
        envelope_to_add       boolean   false : Add Envelope-to: on delivery.
        group                 group           : Group that a local delivery runs as; where unset, the user's.
        headers_only          boolean   false : Deliver the header without the body (not smtp).
        headers_rewrite       string          : Rules as in the rewrite section, for the header of the delivered copy.
        home_directory        expanded        : What $home is for a local delivery; where unset, the router's.
        initgroups            boolean   false : Take the user's further groups on as well.
        message_size_limit    expanded        : Octets of the largest message that this transport takes.
        rcpt_include_affixes  boolean   false : Show prefix and suffix in RCPT of batched SMTP.
        return_path           expanded        : The return path of the delivered copy.
        return_path_add       boolean   false : Add Return-path: on delivery.
        shadow_condition      expanded        : Whether shadow_transport is run.
        shadow_transport      string          : Local transport that makes another copy of what was delivered.
        transport_filter      string          : Command that the message goes through; each of its words is expanded.
        transport_filter_timeout time   5m    : How long such a command may neither read nor write anything.
        user                  user            : User that a local delivery runs as; where unset, the daemon's own.
    """),
    Option("event_action", Kind.EXPANDED, None, "Expanded at each step of a delivery, by $event_name.", "transport"),
    Option("debug_print", Kind.EXPANDED, None, "Text for who watches (-v) when it is run.", "transport"),
    Option("headers_add", Kind.EXPANDED, None, "Fields to add to the delivered copy.", "transport",
           repeat=Repeat.LINES),
    Option("headers_remove", Kind.EXPANDED, None, "Names of fields to leave out of the delivered copy.", "transport",
           repeat=Repeat.NAMES),
    *listed("transport", _IGNORED, _NO_EFFECT, """
        disable_logging                    boolean    false
        max_parallel                       expanded
        retry_use_local_part               boolean    true
    """),
)  # fmt: skip

_APPENDFILE = table(
    *explained("appendfile", r"""
        allow_fifo          boolean   false     : The mailbox may be a named pipe.
        allow_symlink       boolean   false     : The mailbox may be a symbolic link.
        batch_id            expanded            : Recipients with the same text may be delivered together.
        batch_max           integer   1         : How many recipients are delivered together.
        check_group         boolean   false     : The mailbox must be of the delivery's group.
        check_owner         boolean   true      : The mailbox must be of the delivery's user.
        check_string        string              : Lines that begin so are escaped ("From " in a mailbox file).
        create_directory    boolean   true      : Make the directory where it is missing.
        create_file         string    anywhere  : Where files may be made (anywhere, belowhome, inhome, or a directory).
        directory           expanded            : The Maildir, or the directory that gets a file for each message.
        directory_file      string    q${base62:$tod_epoch}-$inode : The name of a new file in a plain directory.
        directory_mode      octal     0700      : Mode of a new directory.
        escape_string       string              : What such lines begin with instead (">From ").
        file                expanded            : The file that messages are appended to.
        file_format         string              : How files begin, each with the transport for such a file.
        file_must_exist     boolean   false     : Never make the file.
        lock_fcntl_timeout  time      0s        : How long to wait for an fcntl lock at a stretch.
        lock_flock_timeout  time      0s        : How long to wait for a flock lock at a stretch.
        lock_interval       time      3s        : Time between two attempts to lock.
        lock_retries        integer   10        : How often locking is attempted.
        lockfile_mode       octal     0600      : Mode of the lock file.
        lockfile_timeout    time      30m       : Age at which a lock file is taken for forgotten.
        mailbox_filecount   expanded            : How many files the mailbox has, where somebody else counts.
        mailbox_size        expanded            : How large the mailbox is, where somebody else counts.
        maildir_format      boolean   false     : The directory is a Maildir.
        maildir_quota_directory_regex  string  ^(?:cur|new|\..*)$ : Finds the directories of a Maildir that count.
        maildir_use_size_file  switch  false    : Add up what is in a Maildir in its file maildirsize.
        maildirfolder_create_regex  string      : Finds the directories that get a file maildirfolder.
        maildir_tag         expanded            : What follows the name of a message in a Maildir.
        message_prefix      expanded            : Text before a message; where unset, a file gets the "From " line.
        message_suffix      expanded            : Text behind a message; where unset, a file gets an empty line.
        mode                octal     0600      : Mode of a new file.
        mode_fail_narrower  boolean   true      : Refuse a mailbox whose mode is narrower than that.
        quota               expanded            : How large the mailbox may become.
        quota_directory     expanded            : The directory that is measured, where it is not the mailbox.
        quota_filecount     expanded            : How many files it may have.
        quota_is_inclusive  boolean   true      : The message itself counts.
        quota_size_regex    string              : Finds the size of a message in the name of its file.
        quota_warn_message  expanded            : What its owner is told, header and text; where unset, the usual words.
        quota_warn_threshold  expanded          : Tell the owner when the mailbox gets larger (10M, 90% of the quota).
        use_bsmtp           boolean   false     : Write batched SMTP.
        use_crlf            boolean   false     : End lines with CRLF.
        use_fcntl_lock      boolean   true      : Lock by fcntl; not by default where use_flock_lock is set.
        use_flock_lock      boolean   false     : Lock by flock.
        use_lockfile        boolean   true      : Lock by a file NAME.lock.
    """),
    *listed("appendfile", _IGNORED, _NO_EFFECT, """
        maildir_retries                    integer    10
        notify_comsat                      boolean    false
    """),
    *listed("appendfile", _UNSUPPORTED, _NOT_YET, r"""
        mailstore_format                   boolean    false
        mailstore_prefix                   expanded
        mailstore_suffix                   expanded
        mbx_format                         boolean    false
        use_mbx_lock                       boolean    false
    """),
)  # fmt: skip

_AUTOREPLY = table(*explained("autoreply", """
    bcc             expanded          : Who gets the reply without being named.
    cc              expanded          : Who gets it as well.
    file            expanded          : A file whose text is added to the reply's.
    file_expand     boolean   false   : Expand each line of that file.
    file_optional   boolean   false   : Do without that file where it can't be read.
    from            expanded          : The reply's From:; where unset, the user of the transport.
    headers         expanded          : Further header fields.
    log             expanded          : A file in which replies are written down.
    mode            octal     0600    : The mode of files that are made.
    never_mail      addresses         : Who never gets a reply.
    once            expanded          : The file that remembers who had one: each address gets one reply.
    once_file_size  integer   0       : Octets that the file may have; the oldest entry goes. 0: a megabyte.
    once_repeat     expanded          : Time after which there may be another one.
    reply_to        expanded          : The reply's Reply-To:.
    return_message  boolean   false   : Add the message to the reply, as far as bounces do.
    subject         expanded          : The reply's Subject:.
    text            expanded          : The reply's text.
    to              expanded          : Who gets the reply.
"""))  # fmt: skip

_LMTP = table(*explained("lmtp", """
    batch_id      expanded          : Recipients with the same text may be delivered together.
    batch_max     integer   1       : How many recipients are delivered together.
    command       string            : The command that is the server; each of its words is expanded.
    ignore_quota  boolean   false   : Say IGNOREQUOTA to a server that knows it.
    socket        expanded          : The Unix socket of the server.
    timeout       time      5m      : How long each of its answers may take.
"""))  # fmt: skip

_PIPE = table(
    *explained("pipe", """
        allow_commands      expanded            : The only commands that may be run, but for those that the path finds.
        batch_id            expanded            : Recipients with the same text may be delivered together.
        batch_max           integer   1         : How many recipients are delivered together.
        check_string        string              : Lines that begin so are escaped.
        command             string              : The command; it is cut into words, and each word is expanded.
        environment         expanded            : Further variables, NAME=text, for the command.
        escape_string       string              : What such lines begin with instead.
        force_command       boolean   false     : Run this command also where a redirection names one ($address_pipe).
        freeze_exec_fail    boolean   false     : Hold a message whose command can't be run.
        freeze_signal       boolean   false     : Hold a message whose command was ended by a signal.
        ignore_status       boolean   false     : Whatever the command's status, the message is delivered.
        log_defer_output    boolean   false     : Log the first line of its output where it defers.
        log_fail_output     boolean   false     : Log the first line of its output where it fails.
        log_output          boolean   false     : Log the first line of its output.
        max_output          size      20K       : Octets of output; a command that writes more is killed.
        message_prefix      expanded            : Text before a message; where unset, the "From " line.
        message_suffix      expanded            : Text behind a message; where unset, an empty line.
        path                expanded  /bin:/usr/bin : Where commands are looked for.
        permit_coredump     boolean   false     : The command may leave a core file.
        restrict_to_path    boolean   false     : No command with a slash in it.
        return_fail_output  boolean   false     : Return the output of a command that fails to the sender.
        return_output       boolean   false     : Return any output to the sender, as a failure.
        temp_errors         string    75:73     : Statuses that mean "try again", or a star for all.
        timeout             time      1h        : How long a command may take.
        timeout_defer       boolean   false     : Try a command again that took longer; otherwise it has failed.
        umask               octal     022       : The command's mask of file modes.
        use_bsmtp           boolean   false     : Write batched SMTP.
        use_crlf            boolean   false     : End lines with CRLF.
    """),
    *listed("pipe", _IGNORED, _NO_EFFECT, """
        use_classresources                 boolean    false
    """),
    *listed("pipe", _UNSUPPORTED, _NOT_YET, """
        pipe_as_creator                    boolean    false
    """),
    Option("use_shell", Kind.BOOLEAN, "false", "no shell is ever given a line: name the shell as the command", "pipe",
           _UNSUPPORTED),
)  # fmt: skip

_QUEUEFILE = table(*listed("queuefile", _IGNORED, _NOT_SERVED, """
    directory                          expanded
"""))  # fmt: skip

TRANSPORT_DRIVERS: Mapping[str, OptionTable] = {
    "appendfile": _APPENDFILE,
    "autoreply": _AUTOREPLY,
    "lmtp": _LMTP,
    "pipe": _PIPE,
    "queuefile": _QUEUEFILE,
    "smtp": SMTP,
}
"""A driver's own options, by its name."""
