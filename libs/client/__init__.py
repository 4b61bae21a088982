"""The client for billing and integrators: typed calls with retries, deadlines and refusals. See docs/client.md."""

from libs.calls import Refused
from libs.client.certificates import Certificates
from libs.client.platform import Platform, response_of
from libs.refusals import Code

__all__ = ["Certificates", "Code", "Platform", "Refused", "response_of"]
