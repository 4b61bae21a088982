"""Campaigns, their budgets and the credits that they grant; the pool that score rewards come from."""

from http import HTTPStatus

from gateway.derived.area import Area
from protos.distribution.v1 import campaigns_pb2

_CAMPAIGNS = Area(
    "campaigns",
    "Operators: campaigns",
    "campaigns",
    campaigns_pb2.DESCRIPTOR.services_by_name["CampaignsService"],
    {
        HTTPStatus.BAD_REQUEST: (
            "CAMPAIGN_ID_INVALID CAMPAIGN_NAME_INVALID CAMPAIGN_TYPE_INVALID CAMPAIGN_STATE_INVALID "
            "CAP_OUT_OF_RANGE BUDGET_AMOUNT_OUT_OF_RANGE CAMPAIGN_PAGE_INVALID ORDER_INVALID "
            "STAGED_GRANT_ID_INVALID PAYER_INVALID POOL_INVALID LOT_PAGE_INVALID PERIOD_INVALID "
            "FUNDING_PAGE_INVALID NAME_INVALID REASON_INVALID"
        ),
        HTTPStatus.NOT_FOUND: "CAMPAIGN_UNKNOWN STAGED_GRANT_UNKNOWN",
        HTTPStatus.CONFLICT: (
            "CAMPAIGN_MOVE_REFUSED CAMPAIGN_NOT_ACTIVE OTHER_CAMPAIGN_ACTIVE CAMPAIGN_HAS_RESERVATIONS "
            "CAMPAIGN_FUNDED_BY_POOL INSUFFICIENT_BALANCE PERIOD_NOT_OVER PERIOD_OVERLAPS"
        ),
    },
)

ROUTES = (
    _CAMPAIGNS.get("/campaigns", "ListCampaigns"),
    _CAMPAIGNS.act("/campaigns", "CreateCampaign", optional=("account_cap_micro",)),
    _CAMPAIGNS.get("/campaigns/{campaign_id}", "GetCampaign"),
    _CAMPAIGNS.act("/campaigns/{campaign_id}/fund", "FundCampaign"),
    _CAMPAIGNS.act("/campaigns/{campaign_id}/activate", "ActivateCampaign"),
    _CAMPAIGNS.act("/campaigns/{campaign_id}/pause", "PauseCampaign"),
    _CAMPAIGNS.act("/campaigns/{campaign_id}/complete", "CompleteCampaign"),
    _CAMPAIGNS.get("/staged-grants/{staged_grant_id}", "GetStagedGrant"),
    _CAMPAIGNS.get("/credits", "GetCredits", needed=("account_id",)),
    _CAMPAIGNS.get("/credit-lots", "ListCreditLots", needed=("account_id",)),
    _CAMPAIGNS.get("/score-pool", "ListScorePoolFundings"),
    _CAMPAIGNS.act("/score-pool", "FundScorePool"),
)
