"""What `capacity` goes by, out of the configuration (edge)."""

from __future__ import annotations

from relay.config.read import Configuration
from relay.daemon.capacity import Limits, Reserve
from relay.expand.splitting import split_list


def capacity_limits(configuration: Configuration) -> Limits:
    """Directories, files and numbers."""
    main = configuration.main
    logs = [each.strip() for each in main.log_file_path.split(":") if each.strip()]
    log = (logs[0] if logs else f"{main.spool_directory}/log/%slog").rpartition("/")[0]
    reserves = (
        Reserve("spool", main.spool_directory, main.check_spool_space, main.check_spool_inodes),
        Reserve("log", log, main.check_log_space, main.check_log_inodes),
    )
    files = split_list(main.queue_only_file).items if main.queue_only_file else ()
    return Limits(
        reserves=tuple(each for each in reserves if each.name == "spool" or each.space or each.inodes),
        counts_size=main.smtp_check_spool_space,
        queue_only=main.queue_only,
        queue_only_files=tuple(each for each in files if each and not each.startswith("smtp")),
        routes_only_files=tuple(each.removeprefix("smtp") for each in files if each.startswith("smtp")),
        queue_only_load=main.queue_only_load,
        smtp_accept_queue=main.smtp_accept_queue,
    )
