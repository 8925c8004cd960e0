"""The first blocks of Ethereum's main network, which both sides of the interop tests hold."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import rlp
from eth_hash_free import keccak256
