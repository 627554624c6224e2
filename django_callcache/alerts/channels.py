"""Where notices go: the log, mail, a webhook. Each either takes a notice or says why not."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import threading
from collections.abc import Callable, Mapping

from django.conf import settings as django_settings
from django.core.mail import mail_admins, send_mail

from django_callcache.alerts.notices import Notice
from django_callcache.alerts.webhook import post
from django_callcache.conf import ChannelSettings
from django_callcache.exceptions import ChannelFailed

logger = logging.getLogger("django_callcache.alerts")

LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}

MAIL_SECONDS = 15.0
"""How long the loop waits for a mail server, whatever EMAIL_TIMEOUT says."""

_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def tell(channel: ChannelSettings, notice: Notice) -> None:
    """Give a notice to a channel.

    Raises:
        ChannelFailed: It was not taken.
    """
    _KINDS[channel.kind](channel, notice)


def _log(channel: ChannelSettings, notice: Notice) -> None:
    level = logging.INFO if notice.state == "resolved" else LEVELS[notice.severity]
    facts = notice.as_json()
    words = " ".join(f"{name}={facts[name]}" for name in ("alert", "alias", "state", "severity", "value"))
    logger.log(level, "%s summary=%s", words, notice.summary)


def _mail(channel: ChannelSettings, notice: Notice) -> None:
    if not channel.to and not django_settings.ADMINS:
        raise ChannelFailed(f"The channel {channel.name!r} has no TO, and ADMINS is empty: name somebody.")
    failures: list[Exception] = []

    def send() -> None:
        try:
            if channel.to:
                subject = f"{django_settings.EMAIL_SUBJECT_PREFIX}{notice.title}"
                send_mail(subject, notice.text, None, list(channel.to))
            else:
                mail_admins(notice.title, notice.text)
        except Exception as error:  # whatever a mail backend raises
            failures.append(error)

    thread = threading.Thread(target=send, name="callcache-mail", daemon=True)
    thread.start()
    thread.join(MAIL_SECONDS)
    if thread.is_alive():
        raise ChannelFailed(f"The mail server did not take it within {MAIL_SECONDS:g} s.")
    if failures:
        raise ChannelFailed(f"The mail could not be sent ({type(failures[0]).__name__}).")


def _webhook(channel: ChannelSettings, notice: Notice) -> None:
    facts: Mapping[str, object] = notice.as_json()
    if channel.style == "slack":
        facts = {"text": notice.text.translate(_SLACK)}
    body = json.dumps(facts).encode()
    headers = {"Content-Type": "application/json"}
    if channel.secret:
        signature = hmac.new(channel.secret.encode(), body, hashlib.sha256).hexdigest()
        headers["X-Callcache-Signature"] = f"sha256={signature}"
    post(
        channel.secret_url,
        body,
        headers,
        timeout=channel.timeout,
        allow_http=channel.allow_http,
        allow_private=channel.allow_private,
    )


_KINDS: Mapping[str, Callable[[ChannelSettings, Notice], None]] = {
    "log": _log,
    "mail": _mail,
    "webhook": _webhook,
}
