"""The pages for creators and operators. They are files: what they show comes from the other routes."""

from http import HTTPStatus
from typing import Final

from gateway import assets
from gateway.problems import AssetUnknown
from gateway.route import Access, Answer, Call, Limited, Route
from gateway.schemas.pages import AssetPath

_FOR_EVER: Final = "public, max-age=31536000, immutable"
_ASKED: Final = ("If-None-Match", "Accept-Encoding")


async def get_creator_page(call: Call[None, None]) -> Answer:
    return _page(call, "index.html")


async def get_operator_page(call: Call[None, None]) -> Answer:
    return _page(call, "operator.html")


async def get_asset(call: Call[None, None]) -> Answer:
    found = assets.load()
    path: AssetPath = call.path
    asset = found.files.get(path.name)
    if asset is None or path.version != found.version:
        raise AssetUnknown
    return _answer(call, asset, {"Cache-Control": _FOR_EVER})


def _page(call: Call[None, None], name: str) -> Answer:
    mode = "test" if call.room.test_mode else "live"
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": assets.POLICY}
    return _answer(call, assets.load().pages[f"{name} {mode}"], headers)


def _answer(call: Call[None, None], asset: assets.Asset, headers: dict[str, str]) -> Answer:
    headers |= {"ETag": asset.etag, "Vary": "Accept-Encoding"}
    if asset.etag in call.headers["If-None-Match"]:
        return Answer(b"", HTTPStatus.NOT_MODIFIED, asset.media_type, headers)
    if "gzip" not in call.headers["Accept-Encoding"]:
        return Answer(asset.content, content_type=asset.media_type, headers=headers)
    return Answer(asset.compressed, content_type=asset.media_type, headers=headers | {"Content-Encoding": "gzip"})


ROUTES = (
    Route(
        method="GET",
        path="/",
        name="creatorPage",
        summary="The page for creators.",
        tag="Pages",
        access=Access.PUBLIC,
        limited=Limited.NOT,
        handler=get_creator_page,
        headers=_ASKED,
        answers={HTTPStatus.OK: "text/html"},
        upstream=False,
        quiet=True,
    ),
    Route(
        method="GET",
        path="/admin",
        name="operatorPage",
        summary="The page for operators: anybody may load it, what it shows takes an operator's token.",
        tag="Pages",
        access=Access.PUBLIC,
        limited=Limited.NOT,
        handler=get_operator_page,
        headers=_ASKED,
        answers={HTTPStatus.OK: "text/html"},
        upstream=False,
        quiet=True,
    ),
    Route(
        method="GET",
        path="/assets/{version}/{name}",
        name="asset",
        summary="A part of the pages; it never changes.",
        tag="Pages",
        access=Access.PUBLIC,
        limited=Limited.NOT,
        handler=get_asset,
        headers=_ASKED,
        path_fields=AssetPath,
        answers={HTTPStatus.OK: "text/javascript"},
        problems={HTTPStatus.NOT_FOUND: ("ASSET_UNKNOWN",)},
        upstream=False,
        quiet=True,
    ),
)
