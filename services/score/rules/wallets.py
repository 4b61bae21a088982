"""Who may link which wallet, and what it has to sign."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from libs.ethereum import NotAnAddress, SignatureMalformed, SignatureMalleable, checksummed, is_raw_signature, signer
from libs.refusals import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from services.score.model import Challenge, Wallet, WalletLimits, WalletState

NONCE_BYTES: Final = 16
_ZERO: Final = "0x" + "0" * 40
_MAX_SIGNATURE: Final = 4096

SENTENCE: Final = "Link this wallet to my creator account. This signature moves no money and costs nothing."


class WalletAddressInvalid(InvalidArgument):
    """A wallet is an EVM address: 0x and 40 hex digits, all lower case or with its EIP-55 checksum."""


class WalletChainUnsupported(InvalidArgument):
    """Wallets of this chain cannot be linked."""


class WalletNonceInvalid(InvalidArgument):
    """A nonce is the 32 hex digits that CreateChallenge gave."""


class WalletSignatureInvalid(InvalidArgument):
    """A signature is 65 bytes in hex: r, s, v."""


class WalletSignatureMalleable(InvalidArgument):
    """The signature has the upper of its two possible s; wallets make the lower one."""


class WalletSignatureMismatch(FailedPrecondition):
    """The signature is another wallet's, or of another text."""


class ContractWalletsUnsupported(FailedPrecondition):
    """Wallets that are contracts cannot be linked here: no chain endpoint is configured."""


class ContractSignatureRefused(FailedPrecondition):
    """The wallet's contract does not accept the signature."""


class ChallengeUnknown(NotFound):
    """No such challenge for this account."""


class ChallengeUsed(FailedPrecondition):
    """The challenge was tried before; ask for a new one."""


class ChallengeExpired(FailedPrecondition):
    """The challenge is older than it may be; ask for a new one."""


class ChallengeOfOtherWallet(FailedPrecondition):
    """The challenge was made for another wallet."""


class ChallengeOfOtherChain(FailedPrecondition):
    """The challenge was made for another chain."""


class TooManyChallenges(ResourceExhausted):
    """Too many challenges within the hour."""


class WalletTaken(FailedPrecondition):
    """The wallet is linked to another account."""


class WalletCoolingDown(FailedPrecondition):
    """The wallet was another account's until lately."""


class TooManyWallets(FailedPrecondition):
    """The account has as many wallets as it may have."""


def check_address(address: str) -> str:
    """Return an address with its checksum; raises WalletAddressInvalid. Nobody holds the key of the zero address."""
    try:
        spelled = checksummed(address)
    except NotAnAddress:
        raise WalletAddressInvalid(field="wallet_address") from None
    if spelled == _ZERO:
        raise WalletAddressInvalid(field="wallet_address")
    return spelled


def check_chain(chain_id: int, limits: WalletLimits) -> int:
    """Return a chain's EIP-155 id; raises WalletChainUnsupported."""
    if chain_id not in limits.chain_ids:
        raise WalletChainUnsupported(field="chain_id")
    return chain_id


def check_nonce(nonce: str) -> bytes:
    """Return a nonce's bytes; raises WalletNonceInvalid."""
    try:
        raw = bytes.fromhex(nonce)
    except ValueError:
        raw = b""
    if len(raw) != NONCE_BYTES or len(nonce) != 2 * NONCE_BYTES:
        raise WalletNonceInvalid(field="nonce")
    return raw


def check_signature(signature: str) -> str:
    """Return a signature that may be looked at; raises WalletSignatureInvalid."""
    digits = signature.removeprefix("0x")
    hexadecimal = digits.isascii() and all(digit in "0123456789abcdefABCDEF" for digit in digits)
    if not 0 < len(digits) <= _MAX_SIGNATURE or not hexadecimal or len(digits) % 2:
        raise WalletSignatureInvalid(field="signature")
    return "0x" + digits


def challenge(
    nonce: bytes, account_ref: UUID, address: str, chain_id: int, now: datetime, limits: WalletLimits
) -> Challenge:
    """A new challenge. Its instant has whole seconds: it is spelled in the text."""
    issued_at = now.replace(microsecond=0)
    expires_at = issued_at + timedelta(seconds=limits.challenge_seconds)
    return Challenge(nonce, account_ref, address, chain_id, issued_at, expires_at)


def text_of(asked: Challenge, account_id: str) -> str:
    """The text to sign, byte for byte: a sentence for people, then one field a line."""
    return "\n".join(
        (
            SENTENCE,
            "",
            "Action: link_wallet",
            f"Account: {account_id}",
            f"Wallet: {asked.address}",
            f"Chain ID: {asked.chain_id}",
            f"Nonce: {asked.nonce.hex()}",
            f"Issued At: {asked.issued_at:%Y-%m-%dT%H:%M:%SZ}",
        )
    )


def check_issuing(issued_in_hour: int, limits: WalletLimits) -> None:
    """Raise TooManyChallenges."""
    if issued_in_hour >= limits.challenges_per_hour:
        raise TooManyChallenges(limit=limits.challenges_per_hour)


def check_challenge(asked: Challenge | None, account_ref: UUID, address: str, chain_id: int) -> Challenge:
    """Return the challenge that a signature is for. Another account's is as unknown as none."""
    if asked is None or asked.account_ref != account_ref:
        raise ChallengeUnknown
    if asked.address != address:
        raise ChallengeOfOtherWallet
    if asked.chain_id != chain_id:
        raise ChallengeOfOtherChain
    return asked


def check_fresh(asked: Challenge, now: datetime) -> None:
    """Raise ChallengeUsed or ChallengeExpired. A clock that was set back does not make a text older than new."""
    if asked.used_at is not None:
        raise ChallengeUsed
    if now >= asked.expires_at:
        raise ChallengeExpired


def is_signed_by_key(text: str, address: str, signature: str) -> bool:
    """Whether an account's own key signed; raises WalletSignatureInvalid, WalletSignatureMalleable."""
    if not is_raw_signature(signature):
        return False
    try:
        return signer(text, signature) == address
    except SignatureMalleable:
        raise WalletSignatureMalleable(field="signature") from None
    except SignatureMalformed:
        raise WalletSignatureInvalid(field="signature") from None


def check_linking(
    wallet: Wallet | None, account_ref: UUID, linked: int, *, now: datetime, limits: WalletLimits
) -> bool:
    """Whether the wallet is this account's already; raises WalletTaken, WalletCoolingDown, TooManyWallets.

    `linked` counts the account's wallets. The cooldown is towards other accounts: its last owner may link it at once.
    """
    if wallet is not None and wallet.state is WalletState.LINKED:
        if wallet.account_ref != account_ref:
            raise WalletTaken
        return True
    if wallet is not None and wallet.account_ref != account_ref and now < free_from(wallet, limits):
        raise WalletCoolingDown(free_from=free_from(wallet, limits).isoformat())
    if linked >= limits.wallets_per_account:
        raise TooManyWallets(limit=limits.wallets_per_account)
    return False


def free_from(wallet: Wallet, limits: WalletLimits) -> datetime:
    """From when another account may link an unlinked wallet."""
    if wallet.unlinked_at is None:
        raise ValueError("it is linked")
    return wallet.unlinked_at + timedelta(days=limits.cooldown_days)


def shortened(address: str) -> str:
    """An address as boards show it: "0x12ab…9f3c"."""
    return f"0x{address[2:6].lower()}…{address[-4:].lower()}"
