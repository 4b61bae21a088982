"""Everything distribution says no to, by reason."""

from libs.refusals import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable


class ChargeIdInvalid(InvalidArgument):
    """A charge id is 1 to 128 printable ASCII characters."""


class PayerInvalid(InvalidArgument):
    """An account id is 1 to 128 printable ASCII characters."""


class CommunityInvalid(InvalidArgument):
    """A community id is 1 to 64 letters, digits, dots, underscores and dashes."""


class RevenueOutOfRange(InvalidArgument):
    """Revenue is 1 to 10^15 micro-dollars."""


class PromotionalOutOfRange(InvalidArgument):
    """The promotional part is between 0 and the revenue."""


class ProviderCostOutOfRange(InvalidArgument):
    """The provider's cost is 0 to 10^15 micro-dollars."""


class ModelMissing(InvalidArgument):
    """A charge names its model, unless it has a model breakdown."""


class ModelInvalid(InvalidArgument):
    """A model is at most 128 printable characters."""


class ModelTierInvalid(InvalidArgument):
    """A model tier is at most 64 printable characters."""


class BreakdownTooLong(InvalidArgument):
    """A charge has at most 32 model shares."""


class BreakdownInvalid(InvalidArgument):
    """A model share names a model of at most 128 printable characters and 0 to 10^15 micro-dollars."""


class BreakdownUnbalanced(InvalidArgument):
    """The model shares sum to the revenue."""


class FundingTooLong(InvalidArgument):
    """A charge has at most 32 funding payments."""


class FundingInvalid(InvalidArgument):
    """A funding payment has an id of 1 to 128 printable ASCII characters, named once, and 1 to 10^15 micro-dollars."""


class FundingUnbalanced(InvalidArgument):
    """The funding payments sum to what was paid with real money: revenue less its promotional part."""


class FinalizedAtMissing(InvalidArgument):
    """A charge says when it was finalized."""


class FinalizedInFuture(InvalidArgument):
    """A charge is finalized at most 5 minutes in the future."""


class ChargeMissing(InvalidArgument):
    """A message of the stream carries a charge."""


class BatchSizeInvalid(InvalidArgument):
    """A batch has 1 to 500 charges."""


class ChargeMismatch(AlreadyExists):
    """The charge was finalized before, with other content."""


class ChargeUnpostable(FailedPrecondition):
    """The books cannot take this charge: a balance would leave the range of 64 bits."""


class PromotionalBelowBurned(FailedPrecondition):
    """More promotional credits were burned for this charge than it says."""


class DistributionUnknown(NotFound):
    """No such charge was finalized."""


class LedgerAccountInvalid(InvalidArgument):
    """A ledger account's name is 1 to 128 printable ASCII characters."""


class AccountNamesTooMany(InvalidArgument):
    """At most 100 balances are read at once."""


class LedgerPageInvalid(InvalidArgument):
    """A page has 1 to 1000 balances, and its token is one that an answer gave."""


class BillingDisabled(FailedPrecondition):
    """Finalizing charges is switched off."""


class LedgerBusy(ResourceExhausted):
    """Too many charges are waiting to be written; send it again later."""


class LedgerUnreachable(Unavailable):
    """The ledger cannot be written now; send the same charge again."""


class AttributionUnreachable(Unavailable):
    """The payer's attribution cannot be learnt now; send the same charge again."""


class InsufficientBalance(FailedPrecondition):
    """An account does not hold that much."""


class RefInvalid(InvalidArgument):
    """A surrogate is a UUID."""


class RevisionInvalid(InvalidArgument):
    """The revision of a standing counts from 1."""


class OrderInvalid(InvalidArgument):
    """An order id is 1 to 128 printable ASCII characters."""


class PurchasePriceInvalid(InvalidArgument):
    """A purchase costs 1 to 10^15 micro-USD."""


class PurchaseMismatch(AlreadyExists):
    """This order was announced with another account or price."""


class PurchaseUnknown(NotFound):
    """No such purchase."""


class PaymentInvalid(InvalidArgument):
    """A payment id is 1 to 128 printable ASCII characters."""


class PaymentSourceInvalid(InvalidArgument):
    """A report says where it came from, or nothing of it."""


class PaymentStateInvalid(InvalidArgument):
    """A report says in which state the payment is."""


class PaymentAmountInvalid(InvalidArgument):
    """Amounts are 0 to 10^15, no more is refunded than was paid, and they fit the state."""


class PaymentClearingInvalid(InvalidArgument):
    """A payment that brought money says when, and not more than five minutes ahead."""


class PaymentUnknown(NotFound):
    """No such payment."""


class PaymentAllocated(FailedPrecondition):
    """This payment is not on the unallocated list."""


class NameInvalid(InvalidArgument):
    """An id is 1 to 128 printable ASCII characters."""


class ReasonInvalid(InvalidArgument):
    """A decision has a reason of 1 to 1000 characters."""
