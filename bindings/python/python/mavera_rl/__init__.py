"""Exact rate limits, shared by all processes of a host."""

from .errors import *
