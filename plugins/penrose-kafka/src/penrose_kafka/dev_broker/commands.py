"""`penrose kafka …`: what is done with brokers on the command line."""

from __future__ import annotations

import argparse

from penrose_kafka.topic_names import is_topic_name

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `penrose kafka`, and their flags."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    text = "start a broker for development on loopback; it stays until Ctrl-C and keeps nothing"
    dev = actions.add_parser("dev", help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)
    dev.add_argument(
        "--server",
        choices=["mock", "tansu"],
        help="which broker: librdkafka's mock cluster, which is right about offsets and holds little (the default), or "
        "tansu, which holds as much as there is memory (penrose-kafka[dev])",
    )
    dev.add_argument(
        "--topic",
        metavar="NAME[:PARTITIONS]",
        type=_topic,
        action="append",
        default=[],
        help="make this topic at once; may be repeated",
    )
    dev.add_argument(
        "--partitions",
        metavar="N",
        type=_partitions,
        default=8,
        help="how many partitions a --topic has that does not say (default: %(default)s)",
    )
    dev.add_argument(
        "--port", metavar="P", type=_port, help="where to listen; tansu only, and chooses it; default: a free port"
    )
    dev.add_argument("--json", action="store_true", help="print one line of JSON instead: address, server, topics")
    dev.set_defaults(command=_dev)


def _dev(options: argparse.Namespace) -> int:
    from penrose_kafka.dev_broker.server import run

    topics = {name: partitions or options.partitions for name, partitions in options.topic}
    return run(options.server, topics, options.port, json_wanted=options.json)


def _topic(text: str) -> tuple[str, int | None]:
    name, colon, partitions = text.partition(":")
    if not is_topic_name(name):
        raise argparse.ArgumentTypeError(f"{text!r}: a topic's name has letters, digits, '.', '_' and '-'")
    return name, _partitions(partitions) if colon else None


def _partitions(text: str) -> int:
    return _between(text, 1, 10_000, "a number of partitions")


def _port(text: str) -> int:
    return _between(text, 1, 65_535, "a port")


def _between(text: str, least: int, most: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what} (from {least} to {most})")
    return int(text)
