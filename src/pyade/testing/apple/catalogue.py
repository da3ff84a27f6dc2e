"""What new devices of the fake look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

Family: TypeAlias = Literal["Mac", "iPad", "iPhone", "AppleTV", "Vision"]


def _model(family: str, os: str, model: str, description: str, color: str) -> Mapping[str, Any]:
    return {"model": model, "description": description, "color": color, "device_family": family, "os": os}


CATALOGUE: Mapping[Family, tuple[Mapping[str, Any], ...]] = {
    "Mac": (
        _model("Mac", "OSX", "MacBook Pro", "MBP 14 SPACE BLACK/M4/16GB/512GB-USA", "SPACE BLACK"),
        _model("Mac", "OSX", "MacBook Air", "MBA 13.6 MIDNIGHT/M3/16GB/256GB-USA", "MIDNIGHT"),
        _model("Mac", "OSX", "Mac mini", "MAC MINI SILVER/M4/16GB/256GB-USA", "SILVER"),
        _model("Mac", "OSX", "iMac", "IMAC 24 BLUE/M4/16GB/256GB-USA", "BLUE"),
    ),
    "iPad": (_model("iPad", "iPadOS", "iPad Air", "IPAD AIR 11 WI-FI 128GB SPACE GRAY-USA", "SPACE GRAY"),),
    "iPhone": (_model("iPhone", "iOS", "iPhone 16", "IPHONE 16 BLACK 128GB-USA", "BLACK"),),
    "AppleTV": (_model("AppleTV", "tvOS", "Apple TV 4K", "APPLE TV 4K 64GB-USA", "BLACK"),),
    "Vision": (_model("Vision", "visionOS", "Apple Vision Pro", "APPLE VISION PRO 256GB-USA", "SILVER"),),
}

PRODUCT_TYPES: Mapping[str, str] = {
    "MacBook Pro": "Mac16,1",
    "MacBook Air": "Mac15,12",
    "Mac mini": "Mac16,10",
    "iMac": "Mac16,3",
    "iPad Air": "iPad15,3",
    "iPhone 16": "iPhone17,3",
    "Apple TV 4K": "AppleTV14,1",
    "Apple Vision Pro": "RealityDevice14,1",
}
