"""`penrose replay`."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags."""
