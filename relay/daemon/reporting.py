"""Main options about reports, retries and frozen messages, as deliveries take them (edge)."""

from __future__ import annotations

from relay.config.main_options import MainOptions
from relay.config.read import Configuration
from relay.daemon.remote import RetryTimes
from relay.delivery.frozen import FrozenRules
from relay.delivery.report import ReportSettings
from relay.delivery.reporting import ReportRules
from relay.delivery.settle import SettleRules
from relay.mail.address import address_from_text
from relay.mail.facts import LocalCaller
from relay.policy.retry import LONGEST_INTERVAL


def report_rules(configuration: Configuration, caller: LocalCaller, queue_interval: float) -> ReportRules:
    """Who is told what. `caller` is the one who hands reports in, as the log has it; `queue_interval`: seconds that a
    message waits which is only queued."""
    main = configuration.main
    settings = ReportSettings(
        primary_hostname=main.primary_hostname,
        qualify_domain=main.qualify_domain,
        caller=caller,
        return_size_limit=main.bounce_return_size_limit,
        return_line_limit=main.bounce_return_linesize_limit,
        returns_message=main.bounce_return_message,
        returns_body=main.bounce_return_body,
        reply_to=main.errors_reply_to,
        bounce_text=main.bounce_message_text,
        authenticated_sender=main.bounce_sender_authentication,
        waits=queue_interval if main.queue_only else None,
    )
    told = (address_from_text(each.strip()) for each in main.freeze_tell.split(",") if each.strip())
    return ReportRules(
        settings=settings,
        dsn_from=main.dsn_from,
        errors_copy=configuration.error_copies,
        bounce_message_file=main.bounce_message_file,
        warn_message_file=main.warn_message_file,
        delay_warning=tuple(float(each) for each in main.delay_warning),
        delay_warning_condition=main.delay_warning_condition,
        freeze_tell=tuple(each.qualified(main.qualify_recipient) for each in told),
    )


def settle_rules(main: MainOptions, queue_interval: float) -> SettleRules:
    """What outcomes mean. `queue_interval`: seconds that a message waits which is only queued."""
    return SettleRules(_longest_interval(main), float(main.ignore_bounce_errors_after), queue_interval)


def frozen_rules(main: MainOptions) -> FrozenRules:
    """When frozen messages go on."""
    return FrozenRules(float(main.timeout_frozen_after), float(main.auto_thaw), float(main.ignore_bounce_errors_after))


def retry_times(main: MainOptions) -> RetryTimes:
    """How long hosts are left alone and remembered."""
    return RetryTimes(_longest_interval(main), float(main.retry_data_expire))


def _longest_interval(main: MainOptions) -> float:
    return min(float(main.retry_interval_max), LONGEST_INTERVAL)
