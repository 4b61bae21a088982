import ipaddress

import pytest

from gateway.client import LOOPBACK, MAX_TEXT, Client, client_address, printable

PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # a stranger's word
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # what the client wrote itself stays out
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.2.2.2"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["nonsense, 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("", ["198.51.100.1"], ""),
        ("10.0.0.1", [", ".join(["10.0.0.2"] * 1000)], "10.0.0.2"),
    ],
)
def test_the_client_is_the_nearest_that_is_no_proxy_of_ours(peer: str, forwarded: list[str], expected: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == expected


def test_in_test_mode_a_loopback_caller_states_its_address() -> None:
    assert client_address("127.0.0.1", ["198.51.100.1"], LOOPBACK) == "198.51.100.1"
    assert client_address("198.51.100.1", ["127.0.0.1"], LOOPBACK) == "198.51.100.1"


@pytest.mark.parametrize(
    ("address", "network", "neighbourhood"),
    [
        ("198.51.100.7", "198.51.100.7", "198.51.100.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("", "", ""),
    ],
)
def test_an_ipv6_customer_counts_as_one_and_no_log_holds_a_whole_address(
    address: str, network: str, neighbourhood: str
) -> None:
    client = Client(address, "", "")
    assert (client.network, client.neighbourhood) == (network, neighbourhood)


def test_a_header_is_passed_on_printable_and_short() -> None:
    assert printable(None) == ""
    assert printable("a\x00b\x1b[31m\udcff") == "a?b?[31m?"
    assert len(printable("x" * 9999)) == MAX_TEXT
